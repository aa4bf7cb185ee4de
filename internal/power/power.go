// Package power controls the power of a machine from outside of it.
//
// A [Driver] speaks to one power control, such as a BMC; [Do] carries out a
// request by a driver and waits until the machine is as it was asked to be;
// [Batch] does so for many machines, within limits.
package power

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// State is whether a machine has power.
type State string

// The states. A machine that is on its way from one to the other is Unknown.
const (
	On      State = "on"
	Off     State = "off"
	Unknown State = "unknown"
)

// Driver speaks to the power control of one machine.
//
// A method MUST return soon after ctx is done. It returns when the command has
// been accepted, which may be before the machine has followed. An error is an
// [*Error]: Unsupported says that nothing was sent, as this kind of power
// control cannot do it. A method MUST NOT change anything but what it is for,
// nor put a password into an error. A Driver need not be safe for concurrent
// use.
type Driver interface {
	// Status reads the state.
	Status(ctx context.Context) (State, error)
	// On switches the machine on. One that is on stays on.
	On(ctx context.Context) error
	// Off cuts the power; orderly: asks the operating system to shut down.
	Off(ctx context.Context, orderly bool) error
	// Cycle cuts the power and restores it.
	Cycle(ctx context.Context) error
	// Reset restarts the machine without cutting its power.
	Reset(ctx context.Context) error
	// BootOnce sets what the next boot is from. Later boots are as before.
	BootOnce(ctx context.Context, from Boot) error
	// Identify lights the machine's identification lamp for a time, from 1 to
	// 255 seconds; 0 switches it off.
	Identify(ctx context.Context, lasting time.Duration) error
}

// Verb is what can be asked of a power control.
type Verb string

// The verbs.
const (
	VerbStatus   Verb = "status"
	VerbOn       Verb = "on"
	VerbOff      Verb = "off"
	VerbCycle    Verb = "cycle"
	VerbReset    Verb = "reset"
	VerbBootOnce Verb = "boot-once"
	VerbIdentify Verb = "identify"
)

// Interrupts reports whether the verb ends what runs on a machine.
func (v Verb) Interrupts() bool { return v == VerbOff || v == VerbCycle || v == VerbReset }

// Device is what a machine boots from.
type Device string

// The devices.
const (
	Disk    Device = "disk"
	Network Device = "network" // PXE, of the firmware that the machine has
	HTTP    Device = "http"    // UEFI HTTP boot, from Boot.URL
	CD      Device = "cd"      // a disc, real or virtual
)

// Boot is what the next boot is from.
type Boot struct {
	Device Device
	// URL is what HTTP loads; empty: what DHCP says.
	URL string
	// Legacy says that the machine boots by BIOS. Where a power control has to
	// be told which firmware is meant, it is UEFI otherwise.
	Legacy bool
}

// ParseBoot reads what a person gives: disk, network, http, cd, or an http or
// https URL.
func ParseBoot(text string) (Boot, error) {
	switch d := Device(text); d {
	case Disk, Network, HTTP, CD:
		return Boot{Device: d}, nil
	}
	if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil {
		return Boot{Device: HTTP, URL: text}, nil
	}
	return Boot{}, fmt.Errorf("cannot boot from %.80q: want disk, network, http, cd, or an http or https URL", text)
}

func (b Boot) String() string {
	if b.URL != "" {
		return b.URL
	}
	return string(b.Device)
}

// Request is what is asked of one machine.
type Request struct {
	Verb    Verb
	Orderly bool          // of VerbOff: the operating system shuts down
	Boot    Boot          // of VerbBootOnce
	Lasting time.Duration // of VerbIdentify
}

// ParseState reads a state as power controls write it; what is neither on nor
// off is Unknown.
func ParseState(text string) State {
	switch s := State(strings.ToLower(strings.TrimSpace(text))); s {
	case On, Off:
		return s
	}
	return Unknown
}
