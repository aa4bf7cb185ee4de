package api

import "strings"

// How a machine leaves the agent for its new system, as plans and receipts name
// it.
const (
	HandoffAuto       = "auto"
	HandoffSwitchRoot = "switch_root"
	HandoffKexec      = "kexec"
	HandoffReboot     = "reboot"
	HandoffInstant    = "instant"
)

// Handoff is a handoff that an operator can choose.
type Handoff struct {
	Name string
	What string // in words that follow "enter the new system: "
}

// Handoffs are all of them, in the order in which they are listed. The agent
// has a way for each but auto, which tries several, and instant, which is
// decided before the disk is complete.
var Handoffs = []Handoff{
	{HandoffAuto, "by the first way that works: switch_root, kexec, reboot"},
	{HandoffSwitchRoot, "on the running kernel, without a restart; by a reboot where that cannot be"},
	{HandoffKexec, "by the image's kernel, without the firmware; by a reboot where that cannot be"},
	{HandoffReboot, "through the firmware"},
	{HandoffInstant, "while its disk is still being written; as auto where that cannot be"},
}

// HandoffNames are the names of Handoffs.
func HandoffNames() []string {
	names := make([]string, len(Handoffs))
	for i, h := range Handoffs {
		names[i] = h.Name
	}
	return names
}

// HandoffList is the names of Handoffs as a sentence has them.
func HandoffList() string { return strings.Join(HandoffNames(), ", ") }
