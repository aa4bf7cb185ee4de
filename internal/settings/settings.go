// Package settings is what a flash can be told, each setting written once.
//
// A setting is a field of [Settings] with its tags. All that shows, takes,
// checks, merges or compares settings goes over [Fields], which reads the tags:
//
//	json       its name on the wire and in files; the flag is made from it
//	doc        what it is, in the help of the flag, the form and OpenAPI
//	arg        the word of doc that stands for the value
//	unset      what holds where nobody says it, in the help of gild flash
//	enum       the values that are allowed; the first, empty one: not said
//	maxLength  in bytes, of a text
//	maxItems   of a list
package settings

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Settings of a flash, as a machine, a group or a request says them. What is
// empty is not said: see [Field.Copy].
type Settings struct {
	Image    string `json:"image,omitempty" maxLength:"128" arg:"name" unset:"the one set for the machine or its group" doc:"name of a stored image"`
	Identity string `json:"identity,omitempty" maxLength:"63" arg:"name" doc:"name of an identity of the fleet, or none"`
	Agent
	Confirm *Confirm `json:"confirm,omitempty"`
}

// Agent is the settings that the agent carries out: a plan has them as they
// were said.
type Agent struct {
	Disk     string   `json:"disk,omitempty" maxLength:"512" arg:"rule" unset:"the only disk" doc:"disk rule such as serial=S4EW, size>=100G or smallest"`
	ReadBack string   `json:"readBack,omitempty" enum:",full,sample,off" unset:"full" doc:"how much of the disk to read back"`
	Handoff  string   `json:"handoff,omitempty" enum:",auto,switch_root,kexec,reboot,instant" unset:"the image's, or auto" doc:"how to enter the system"`
	Keep     []string `json:"keep,omitempty" maxItems:"128" arg:"partition" doc:"partition to preserve, by number or label; may be repeated"`
	// HoldReboot makes an orderly reboot of a system that was entered by
	// "instant" wait until its disk is complete.
	HoldReboot bool `json:"holdReboot,omitempty" doc:"after an instant handoff, delay an orderly reboot until the disk is complete"`
}

// Confirm says how it is known that the new system runs.
type Confirm struct {
	// Probe is "tcp:22" or "ping", to the addresses that the identity gives the
	// new system, else to the one that the agent had; empty:
	// only the beacon that the identity sets up.
	Probe string `json:"probe,omitempty" maxLength:"32"`
	// Within is how long to wait, in seconds; 0 is 600.
	Within int `json:"within,omitempty" minimum:"0" maximum:"86400"`
	// Boots is how many network boots without confirmation are taken for a
	// system that does not start: state failed, cause boot-failed; 0 is 3.
	Boots int `json:"boots,omitempty" minimum:"0" maximum:"100"`
}

// String is all that it says, in a line.
func (c *Confirm) String() string {
	return fmt.Sprintf("probe %s within %d s, %d boots", cmp.Or(c.Probe, "none"), c.Within, c.Boots)
}

// Check checks what it says. Errors are *InvalidError.
func (c *Confirm) Check() error {
	if c.Within < 0 || c.Boots < 0 {
		return &InvalidError{"confirm: a negative number", "within is in seconds, boots is a count"}
	}
	if port, isTCP := strings.CutPrefix(c.Probe, "tcp:"); isTCP {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return nil
		}
	}
	if c.Probe != "" && c.Probe != "ping" {
		return &InvalidError{fmt.Sprintf("confirm: unknown probe %.40q: want ping or tcp:PORT", c.Probe), "such as tcp:22"}
	}
	return nil
}

// InvalidError says what is wrong with a setting.
type InvalidError struct {
	Problem string
	Help    string // what the operator can do
}

func (e *InvalidError) Error() string { return e.Problem }

// Hint says what the operator can do.
func (e *InvalidError) Hint() string { return e.Help }
