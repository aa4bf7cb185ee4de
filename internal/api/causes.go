package api

import (
	"cmp"
	"strings"
)

// Causes of failures: Event.Cause, Machine.Cause, Flash.Cause. They are stable
// words for scripts and alert rules; the message beside one is for people. A
// step of the agent that fails for a reason without a word of its own has the
// cause "STEP-failed".
const (
	CauseDiskNone       = "disk-none"          // no disk is what the rule means
	CauseDiskAmbiguous  = "disk-ambiguous"     // several are
	CauseDiskClaimed    = "disk-claimed"       // it holds what only Plan.Wipe gives up
	CauseKeepRefused    = "keep-refused"       // a partition to keep is missing, or under the image
	CauseDiskBusy       = "disk-busy"          // mounted, or held by another driver
	CauseDiskTooSmall   = "disk-too-small"     // for the image
	CauseOtherDisk      = "other-disk"         // not the one that was agreed to when the machine was armed
	CauseDiskUnfit      = "disk-unfit"         // disk and image do not go together for another reason
	CauseDiskError      = "disk-error"         // it failed a call, or gives back other bytes than were written
	CauseDiskSilent     = "disk-silent"        // it no longer answers
	CauseDigestMismatch = "digest-mismatch"    // the server's bytes are not the image's, however often asked
	CauseUnreachable    = "server-unreachable" // no answer over a network that is up
	CauseRefused        = "server-refused"     // an answer that is an error
	CauseUntrusted      = "server-untrusted"   // the server that answers is not one that the agent's CA has signed for
	CauseTimedOut       = "timed-out"
	CauseMount          = "mount-failed" // a file system of the image does not mount
	CauseNoDriver       = "no-driver"    // the running kernel does not know that file system
	CauseEarlyMount     = "mount"        // /proc, /sys or /dev is missing

	CauseDrivers  = "drivers-failed"
	CauseNetwork  = "network-failed"
	CausePlan     = "plan-failed"
	CauseImage    = "image-failed"
	CauseDisk     = "disk-failed"
	CauseFlash    = "flash-failed"
	CauseGrow     = "grow-failed"
	CauseIdentity = "identity-failed"
	CauseHandoff  = "handoff-failed"
	CauseRescue   = "rescue-failed"

	CauseNoBootFile   = "no-boot-file"    // nothing to hand to this firmware
	CauseImageBoot    = "image-boot"      // the image's kernel or initramfs cannot be served
	CauseVersion      = "agent-version"   // an agent of another protocol
	CauseOutdated     = "agent-outdated"  // an agent of an older initramfs, which speaks plain HTTP
	CauseConflict     = "second-agent"    // two live agents claim to be one machine
	CauseOtherMachine = "other-machine"   // not the one that was agreed to, or came in another's place
	CauseSession      = "session-changed" // another agent took over after the identity was given
	CauseSilent       = "silent"          // an agent that should speak does not
	CauseBootFailed   = "boot-failed"     // the new system came to the network boot again and again
	CauseNoSign       = "no-sign-of-life" // the new system did not report in in time
	CauseLapsed       = "lapsed"          // the permission expired
	CauseCancelled    = "cancelled"
	CauseRestored     = "state-restored" // a backup taken in mid-flash was restored
	CauseRecord       = "record-damaged" // what is stored of the machine cannot be read
)

// Causes lists them all. An agent of another gild may give others.
var Causes = []string{
	CauseDiskNone, CauseDiskAmbiguous, CauseDiskClaimed, CauseKeepRefused, CauseDiskBusy, CauseDiskTooSmall,
	CauseOtherDisk, CauseDiskUnfit, CauseDiskError, CauseDiskSilent, CauseDigestMismatch, CauseUnreachable,
	CauseRefused, CauseUntrusted, CauseTimedOut, CauseMount, CauseNoDriver, CauseEarlyMount, CauseDrivers,
	CauseNetwork, CausePlan, CauseImage, CauseDisk, CauseFlash, CauseGrow,
	CauseIdentity, CauseHandoff, CauseRescue, CauseNoBootFile, CauseImageBoot, CauseVersion,
	CauseOutdated, CauseConflict, CauseOtherMachine, CauseSession, CauseSilent, CauseBootFailed, CauseNoSign,
	CauseLapsed, CauseCancelled, CauseRestored, CauseRecord,
}

// Advice says what a person does about a failure, in one to three sentences
// that fit below it. The commands in it name the machine as given, or MACHINE
// for an empty one. A cause that it does not know has no advice: "".
func Advice(cause, machine string) string {
	text := diskAdvice(cause)
	if text == "" {
		text = stepAdvice(cause)
	}
	if text == "" {
		text = serverAdvice(cause)
	}
	return strings.ReplaceAll(text, "{}", cmp.Or(machine, "MACHINE"))
}

// diskAdvice is about disks and what is to become of them.
func diskAdvice(cause string) string {
	switch cause {
	case CauseDiskNone:
		return "See the disks that it has: `gild machine show {}`. Then `gild cancel {}`, and arm it with a rule that means one of " +
			"them. If the disk is not listed at all, look at its cabling and controller, and whether the image holds the controller's driver."
	case CauseDiskAmbiguous:
		return "See the disks that it has: `gild machine show {}`. Then `gild cancel {}`, and arm it with a rule that means one of " +
			"them, such as --disk serial=S4EW0123 or --disk smallest."
	case CauseDiskClaimed:
		return "Make sure that the data on this disk is not needed. Then `gild cancel {}`, and arm it with --wipe, or with --disk and a " +
			"rule for another disk."
	case CauseKeepRefused:
		return "Run `gild cancel {}`, and arm it with --keep only for partitions that are there and lie behind the image's end, or with " +
			"a smaller image."
	case CauseDiskBusy:
		return "Restart the machine. If the disk is busy again, a RAID or multipath driver holds it: the message says which. Choose " +
			"another disk with --disk."
	case CauseDiskTooSmall:
		return "Run `gild cancel {}`, and arm it with a larger disk (--disk) or a smaller image."
	case CauseOtherDisk:
		return "Nothing was written. If a disk was replaced or moved, run `gild cancel {}`, look at the disks that it has now (`gild " +
			"machine show {}`), and arm it again. If not, this may be another machine than you mean."
	case CauseDiskUnfit:
		return "Run `gild cancel {}`, and arm it with another disk (--disk), or with an image that is made for this kind of disk."
	case CauseDiskError:
		return "The disk is failing. Look at its cabling, or replace it. The machine stays armed: it resumes at its next network boot. " +
			"If the disk was replaced, cancel and arm it again: a new disk is not the one that was agreed to."
	case CauseDiskSilent:
		return "Look at the disk's cabling and controller, then switch the machine off and on: a restart alone may not wake the disk. " +
			"The machine stays armed and it resumes at its next network boot."
	case CauseMount:
		return "The disk holds the image, but its file system does not mount. Check it where the image was made (fsck, xfs_repair), and " +
			"add it again: `gild image add`."
	case CauseNoDriver:
		return "The kernel that runs has no driver for this file system. Use a kernel that has it: `gild image add` with --kernel and --modules."
	}
	return ""
}

// stepAdvice is about the agent's steps and its way to the server.
func stepAdvice(cause string) string {
	switch cause {
	case CauseDigestMismatch:
		return "Check the image on the server: `gild image verify`. If it is sound, something on the way changes its bytes: look at " +
			"proxies, and at the network card and memory of both ends. None of them was written."
	case CauseUnreachable, CauseTimedOut:
		return "It continues by itself when the server answers. Check the server (`gild doctor` there), the cable and switch port, and " +
			"the firewalls between them."
	case CauseRefused:
		return "The server's log says why. It is tried again; `gild cancel {}` ends it."
	case CauseUntrusted:
		return "Restart the machine: its initramfs is of another server, or of this one before its state was lost. If it comes again " +
			"after a restart, somebody else answers at the server's address."
	case CauseNetwork:
		return "Look at the cable and the switch port (its VLAN, spanning tree), and whether a DHCP server answers here: `gild doctor` " +
			"on the server. If no network card is found, the image does not hold its driver."
	case CauseDrivers:
		return "The modules do not fit the kernel that runs, or are damaged. Add the image again (`gild image add`) and restart the machine."
	case CausePlan:
		return "If it comes again, an old initramfs is cached somewhere: restart the machine. The server's log says more."
	case CauseImage:
		return "Check the image on the server: `gild image verify`. It is tried again by itself."
	case CauseDisk, CauseFlash:
		return "It is tried again by itself, and what is right on the disk is kept. If it comes again, the message says what to look " +
			"at; the kernel's log (dmesg) says more of the disk."
	case CauseGrow:
		return "Nothing has to be done now: the disk is complete and boots. Its last partition has the image's size; grow it in the new system."
	case CauseIdentity:
		return "The disk holds the image, but not yet who it is. Run `gild cancel {}`, mend the identity as the message says (`gild " +
			"apply`), and arm it again: what is right on the disk is kept."
	case CauseHandoff:
		return "The disk is complete. The next way into it is tried, in the end a restart; if the machine stays here, restart it by hand."
	case CauseRescue:
		return "Serve the initramfs with a shell in it, `gild serve --rescue-shell`, and restart the machine."
	case CauseEarlyMount:
		return "The kernel lacks what every program needs. Use the kernel of a distribution: `gild image add` with --kernel and --modules."
	}
	return ""
}

// serverAdvice is about what only the server can notice.
func serverAdvice(cause string) string {
	switch cause {
	case CauseNoBootFile:
		return "Switch its firmware to another boot mode, or install what this one needs on the server: `gild doctor` says which package."
	case CauseImageBoot:
		return "Add the image again with what the message asks for: `gild image add` with --kernel, --modules or --cmdline. The machine " +
			"was sent to its disk."
	case CauseVersion:
		return "Restart the machine: an old initramfs was cached somewhere on its way."
	case CauseOutdated:
		return "It restarts by itself and boots this server's agent. If it does not, restart it."
	case CauseConflict:
		return "Find the second machine and the address that it shares with this one: two network cards with one MAC, or a copied " +
			"virtual machine. After a restart of one machine, wait a minute."
	case CauseOtherMachine:
		return "Nothing was written. See what came: `gild machine show {}`. If its board was replaced or its adapter changed, run `gild " +
			"cancel {}`, correct what it is known by (`gild machine edit {}`), and arm it again. If not, look where its adapter is plugged in."
	case CauseSession:
		return "If the machine was restarted in the middle of its flash, all is well. If not, somebody on the boot network spoke for " +
			"it: what its identity holds that is secret is to be changed, and the boot network looked at."
	case CauseSilent:
		return "Look at the machine's screen, its power and its network link. If it was restarted, it resumes at its next network boot."
	case CauseBootFailed:
		return "Look at the machine's screen while it starts. Its disk holds the image as it was read back: what fails is the system on " +
			"it, its boot order, or the call that would confirm it."
	case CauseNoSign:
		return "Look whether the new system runs. If it does, it did not reach the server: look at its network settings, and at the " +
			"unit gild-beacon in it."
	case CauseLapsed:
		return "Arm it again, with a longer --expires; never lets it stand until it is cancelled."
	case CauseCancelled:
		return "Arm it again when it is to be flashed."
	case CauseRecord:
		return "Nothing is known of it any more, and it is not flashed. `gild machine rm {}` and register it anew, or restore a backup " +
			"of the state."
	case CauseRestored:
		return "Its disk may hold half an image, which does not boot. Arm it again."
	}
	return ""
}
