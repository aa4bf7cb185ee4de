// Package budget is how much a server keeps or holds, in one place.
//
// What a host on the boot network can make it store has an end in bytes, and
// the ends together fit the database.
package budget

import (
	"fmt"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Of one word from the boot network, in bytes.
const (
	HelloBody  = api.MaxHello // as it is sent
	Inventory  = 64 << 10     // as it is kept, in JSON: the rest is cut away
	ReportBody = api.MaxReport
	SmallBody  = 4 << 10 // a question of an agent that tells nothing
	Label      = 128     // one word of hardware: a serial number, a model
	Text       = 1 << 10 // one sentence of an event
)

// Of one machine.
const (
	ReportEvents = api.MaxEvents // in one report
	Events       = 1000          // kept of what a machine told that the operator knows
	EventsSeen   = 64            // kept of one that only the network speaks of
	Notes        = 500           // kept of what the server did with it
	Deeds        = 500           // kept of what operators did with it
	Receipts     = 100
	// EventBurst events are kept of what a machine tells at once, then one in
	// EventEvery; of changes of state twice as many.
	EventBurst = 256
	EventEvery = 500 * time.Millisecond
	// InventoryBurst inventories that differ are written down at once, then
	// one in InventoryEvery.
	InventoryBurst = 4
	InventoryEvery = 30 * time.Second
)

// Of all machines together.
const (
	Machines   = 20_000 // that the operator knows
	LogEntries = 2000   // kept of each log: told, noted by the server, done by operators
	// Seen is for machines that only the network speaks of: SeenBytes in all,
	// SeenRecords of them, for SeenFor after the last word. The one that was
	// silent longest makes room.
	SeenBytes   = 64 << 20
	SeenRecords = 20_000
	SeenFor     = 24 * time.Hour
	// SeenBurst new ones are written down at once, then SeenRate a second.
	SeenBurst = 1000
	SeenRate  = 10
)

// Of one source address, hellos and reports.
const (
	WordsRate  = 200 // a second
	WordsBurst = 2000
	// One session of an agent speaks once a second, and more at a start.
	SessionRate  = 5
	SessionBurst = 100
)

// Memory is of the process, in bytes: less where its host or its control group
// has less.
const Memory = 2 << 30

// Of the database.
const (
	Transaction = 4 << 20
	State       = 2 << 30
)

// Row is a line of the table for operators.
type Row struct{ What, Most, Then string }

// Table is what operators are shown: all that is bounded, and what happens at
// the bound.
func Table() []Row {
	return []Row{
		{"hello of an agent", size(HelloBody), "refused (413)"},
		{"inventory of a machine, as kept", size(Inventory), "partitions, then disks are left out of the record"},
		{
			"inventories that differ, of one machine", fmt.Sprintf("%d at once, then one in %v", InventoryBurst, InventoryEvery),
			"the earlier one stays in the record",
		},
		{"report of an agent", fmt.Sprintf("%s, %d events", size(ReportBody), ReportEvents), "refused (413, 400)"},
		{"one word of hardware, one sentence of an event", fmt.Sprintf("%s, %s", size(Label), size(Text)), "cut"},
		{"hellos and reports of one agent", fmt.Sprintf("%d at once, then %d a second", SessionBurst, SessionRate), "asked to wait (429)"},
		{"hellos and reports of one address", fmt.Sprintf("%d at once, then %d a second", WordsBurst, WordsRate), "asked to wait (429)"},
		{"events that a machine tells", fmt.Sprintf("%d at once, then one in %v", EventBurst, EventEvery), "dropped, counted and told"},
		{"events that a machine told that you know", fmt.Sprintf("%d", Events), "the oldest goes"},
		{"events that a machine told that was only seen", fmt.Sprintf("%d", EventsSeen), "the oldest goes"},
		{
			"what the server and operators did with a machine, receipts", fmt.Sprintf("%d, %d, %d", Notes, Deeds, Receipts),
			"the oldest of its kind goes",
		},
		{
			"log of what was told, noted by the server, done by operators", fmt.Sprintf("%d entries each", LogEntries),
			"the oldest of its kind goes",
		},
		{"machines that you know", fmt.Sprintf("%d", Machines), "the next is refused"},
		{
			"machines that were only seen", fmt.Sprintf("%d, %s in all, 24 h", SeenRecords, size(SeenBytes)),
			"the one that was silent longest is forgotten",
		},
		{
			"new machines that were only seen", fmt.Sprintf("%d at once, then %d a second", SeenBurst, SeenRate),
			"boots its local disk and is not written down",
		},
		{
			"memory", size(Memory) + ", half of the host's, four fifths of the control group's, or `GOMEMLIMIT`",
			"connections that wait are closed, strangers are not written down, alarm `memory`",
		},
		{"state database", size(State), "forgets the past of its keys, defragments itself at half"},
	}
}

// size writes bytes as people do.
func size(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB"}
	i := 0
	for ; n >= 1024 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

// Markdown is the table as it stands in the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| what | at most | then |\n|---|---|---|\n")
	for _, r := range Table() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.What, r.Most, r.Then)
	}
	return b.String()
}
