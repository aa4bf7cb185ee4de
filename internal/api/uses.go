package api

// Kinds of what an operator removes by name.
const (
	KindImage    = "image"
	KindGroup    = "group"
	KindIdentity = "identity"
)

// Removed is a group or an identity that was removed, and who named it still.
type Removed struct {
	Kind string `json:"kind" enum:"group,identity"`
	Name string `json:"name"`
	Uses []Use  `json:"uses"` // empty: nobody did
}

// The kinds of a Use.
const (
	UseArm      = "arm"      // a machine is armed with it
	UseMachine  = "machine"  // it is a machine's own default
	UseGroup    = "group"    // it is a group's default
	UseMember   = "member"   // a machine is in the group
	UseDiscover = "discover" // unknown machines boot its kernel
)

// Use is something that names an image, a group or an identity.
type Use struct {
	Kind string `json:"kind" enum:"arm,machine,group,member,discover"`
	Name string `json:"name,omitempty"` // of the machine, or its ID, or of the group
}

func (u Use) String() string {
	switch u.Kind {
	case UseArm:
		return u.Name + " is armed with it"
	case UseMachine:
		return "machine " + u.Name + " names it"
	case UseGroup:
		return "group " + u.Name + " names it"
	case UseMember:
		return "machine " + u.Name + " is in it"
	}
	return "unknown machines boot its kernel (--discover)"
}
