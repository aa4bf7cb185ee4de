package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/test/reliability"
)

// intro says what the figures mean, and what they do not.
const intro = `# Reliability

<!-- Written by "make reliability" from test/reliability/results.jsonl. Regenerated, never edited. -->

**The promise.** No cut of power, network or process, at any point, leaves a disk that boots half an image; nothing is
called a success before it was read back from the medium. [0002-write-order](decisions/0002-write-order.md) says how.
This page says what was done to break it, how often, and how to do it again.

**The model.** Most rows run the real engine on a disk in memory. A write is in that disk's volatile cache from the
moment it begins. It may reach the medium at any time, sector by sector, in any order, torn within a sector, or never.
Only a flush makes it certain, and only if the write had ended before the flush began. A flush that fails keeps of each
write what it likes, and the next one does not save it. A seed decides which call of the engine ends next, so a run can
be repeated step by step. At every step a judge asks: if the power went now, is LBA 0 zero, or all behind it the old
disk, or all behind it the image? Apart from the random cuts it decides this for every subset of the unflushed sectors
at once: if none of them differs from the image's, no subset does.

**A torn LBA 0.** A disk should write one sector whole or not at all. Should it not, the promise holds all the same.
LBA 0 is zeroed when nothing else was touched yet, and filled when everything else is on the medium and was read back.
What half of it could boot is whole: the old disk or the image.

**A system on its disk.** With an instant handoff a system reads and writes the disk while it is written. The model is a
disk that held the image from the start: every read must give what that would give, and the disk that the system is
moved to, and that is sealed, must be that one. One goroutine plays all parts, and whatever waits or calls the disk may be overtaken there by
any other, so an order that went wrong comes back with its seed. After a cut the model is the image again: what the
system wrote is lost, as promised.

**A room.** One real "gild serve" and hundreds of agents, each a process with the real agent's steps, engine and report
queue and a file for its disk. Each asks for its script as iPXE does until it is armed, and once more after its flash: it
must then be sent to its disk. Its first start is played too, and calls the beacon. Meanwhile the server is killed with
SIGKILL five times. Then three stories of each machine are compared event by event: what its agent was told had been
taken, the past that the server keeps, and what a follower of the event stream heard who resumed by id. Every disk is
compared with the image, byte by byte. How long the server takes to answer is measured by one more armed machine, a
process with the server's priority; all share two cores.

**A storm.** The same room, each machine, and each hostile host, in a network namespace of its own with a cable to a bridge,
the state on a file system of 1 GiB that is filled in the middle. While the machines are flashed, hostile hosts do what is
named, each alone and then all at once. Every machine must end well, two that are not armed must boot their local disk all
the time, the server's process must live with less than 1 GiB and half of its descriptors, and it must be as it was
afterwards: a stranger's hello answered about as soon as before, machines listed, no alarm. All share two cores with each other
and with what else the host does, which the load average tells: processes that run or wait at the end of a run. With more
than a few for each core a heartbeat waits for processors rather than for the server.

**Not covered.** A disk that acknowledges a flush and later loses what it acknowledged: no reader can see that. A disk
that damages sectors nobody wrote, or whose sectors rot after the seal. A write that goes astray while its own place
held the right bytes already, though nobody had looked there, onto a chunk that was read before: a flash over an older
version of the image does not read every chunk twice. One onto a chunk that was proved, to which a running system then
writes: what else should be in it, nobody knows from there on. What firmware and the installed system do to the disk afterwards. Bugs of kernel and
controller that the model does not have; the rows in a real guest are for those.

The commit is that of the code that was run; a "+" behind it says that the tree was changed. "make mutate" takes each
safeguard out of the engine and shows that a test misses it.
`

// page writes the document.
func page(w io.Writer, rows []reliability.Row) error {
	out := &strings.Builder{}
	out.WriteString(intro)
	for _, group := range reliability.Groups() {
		first := true
		for _, r := range rows {
			if r.Group != group {
				continue
			}
			if first {
				fmt.Fprintf(out, "\n## %s\n\n| what was injected | how often | seed | result | seconds | commit |\n|---|--:|--:|---|--:|---|\n", group)
				first = false
			}
			fmt.Fprintf(out, "| %s | %s %s | %s | %s | %.0f | %s |\n",
				cell(r.What), thousands(r.Count), r.Unit, seedOf(r), resultOf(r), r.Seconds, r.Commit)
		}
		if !first {
			out.WriteString("\n")
			commands(out, rows, group)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// commands lists what a person types to see a row's figures again.
func commands(out *strings.Builder, rows []reliability.Row, group string) {
	out.WriteString("```\n")
	for _, r := range rows {
		if r.Group == group {
			out.WriteString(r.Command + "\n")
		}
	}
	out.WriteString("```\n")
}

func resultOf(r reliability.Row) string {
	if r.Failed {
		return "**FAILED**: " + cell(r.Result)
	}
	return cell(r.Result)
}

func seedOf(r reliability.Row) string {
	if r.Seed == 0 {
		return "-"
	}
	return strconv.FormatUint(r.Seed, 10)
}

// cell keeps a text inside its cell.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// thousands writes 10000000 as 10,000,000.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
