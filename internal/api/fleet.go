package api

import "github.com/gild-dev/gild/internal/settings"

// Fleet is everything that an operator keeps under version control: what
// `gild apply` sends. Names are unique within their kind: letters, digits,
// hyphens, dots, at most 63.
type Fleet struct {
	Machines   []Spec              `json:"machines,omitempty"`
	Groups     []Group             `json:"groups,omitempty"`
	Identities map[string]Identity `json:"identities,omitempty"`
	// Images says what images must be stored under their names, by digest:
	// an apply that finds another one is refused.
	Images map[string]string `json:"images,omitempty"`
	// Prune removes machines, groups and identities that the files of an
	// earlier apply named and these do not. Machines only seen are never
	// removed, nor is one that is armed.
	Prune bool `json:"prune,omitempty"`
}

// MaxFleet bounds a Fleet as JSON in bytes.
const MaxFleet = 16 << 20

// Applied is what the applies so far have named and is still there, as it is
// now. Identities are told by name alone: they may hold secrets.
type Applied struct {
	Machines   []Spec   `json:"machines"`
	Groups     []Group  `json:"groups"`
	Identities []string `json:"identities"`
}

// Group gives defaults to every machine whose labels its selector matches.
// The machine's own go before those of its groups; two groups that say
// different things of one machine are an error.
type Group struct {
	Name     string            `json:"name" maxLength:"63"`
	Selector string            `json:"selector" maxLength:"512" doc:"such as rack=b7,role!=db"`
	Flash    settings.Settings `json:"flash,omitzero"`
	Values   map[string]string `json:"values,omitempty"`
}

// FleetDiff is what an apply changes or would change.
type FleetDiff struct {
	Changes []FleetChange `json:"changes"` // empty: nothing
	DryRun  bool          `json:"dryRun"`
	// Warnings are what stands in the way of a later flash, and not of this.
	Warnings []FleetWarning `json:"warnings,omitempty"`
	// Files went into it by the tag !file: the client says so of its own.
	Files []string `json:"files,omitempty"`
}

// FleetWarning is something that files name and that is not there.
type FleetWarning struct {
	Path    string `json:"path"` // as in the JSON of a Fleet: "machines[3].flash.image"
	Message string `json:"message"`
}

// FleetChange is one difference.
type FleetChange struct {
	Kind string `json:"kind"` // "machine", "group", "identity"
	Name string `json:"name"` // of the thing
	// Do is "add", "change", "remove", or "keep": what a prune would remove,
	// if it were not armed, or named by what stays.
	Do    string `json:"do"`
	Field string `json:"field,omitempty"` // of a change: "labels.rack"
	// Old and New are empty where there is nothing. What may be secret is not
	// shown: only that it differs.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}
