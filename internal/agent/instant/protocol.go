package instant

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// PID 1 and the keeper talk in JSON over two pipes, until PID 1 has become the
// new system's init:
//
//	keeper  reply   it is there, and speaks this version
//	PID 1   brief   what to do; the chunk table comes as the file tableFD
//	keeper  reply   the devices of the partitions: the disk can be used
//	PID 1   word    events, as they happen; the last has what it leaves behind
//	keeper  reply   PID 1 may go
//
// Instead of any reply the keeper may say why not, with what it has not
// reported.

// version of the protocol. Both ends are one program, but for a mistake.
const version = 1

// versionError is of an end that speaks another version.
type versionError int

func (e versionError) Error() string {
	return fmt.Sprintf("it speaks version %d of the protocol, this program version %d: is another program at /init?", int(e), version)
}

// brief is what the keeper is to do.
type brief struct {
	Version int
	Config  *golden.Config
	Blob    golden.Descriptor // of the disk
	Servers string            // of client.Trusting
	CA      []byte            // likewise; empty: plain HTTP
	Session string
	MAC     string
	Plan    *api.Plan
	Disk    api.Disk
	Queue   report.Backlog
}

// word is what PID 1 says afterwards.
type word struct {
	Plan   string
	Events []api.Event
	Leave  *parting
}

// parting is what PID 1 leaves to the keeper: what goes into the receipt, and
// what is still to be done.
type parting struct {
	Link     netif.Handed
	Identity string
	Times    map[string]float64
	// Grow is the size of the grown root partition in bytes, 0 if it is not.
	Grow int64
}

// reply is what the keeper says.
type reply struct {
	Version int                  `json:",omitempty"` // with the first
	Error   string               `json:",omitempty"`
	Queue   *report.Backlog      `json:",omitempty"`
	Parts   map[int]livePart     `json:",omitempty"` // by number
	Grown   *partition.Partition `json:",omitempty"`
}

// livePart is the block device that stands for a partition of a live disk.
type livePart struct {
	Node         string // "/dev/dm-0"
	Major, Minor uint32
}

// tableFD is the keeper's descriptor of the chunk table.
const tableFD = 3

// pidOne is PID 1 as the keeper hears and answers it.
type pidOne struct {
	said   *json.Decoder
	answer *json.Encoder
}

// meetPidOne says that the keeper is there, and hears what to do.
func meetPidOne(r io.Reader, w io.Writer) (p pidOne, b brief, err error) {
	p = pidOne{json.NewDecoder(r), json.NewEncoder(w)}
	if err := p.reply(reply{Version: version}); err != nil {
		return p, b, err
	}
	if err := p.said.Decode(&b); err != nil {
		return p, b, fmt.Errorf("hearing what to do: %w", err)
	}
	if b.Version != version {
		err = fmt.Errorf("talking to PID 1: %w", versionError(b.Version))
	}
	return p, b, err
}

// reply answers PID 1.
func (p pidOne) reply(r reply) error {
	if err := p.answer.Encode(r); err != nil {
		return fmt.Errorf("answering PID 1: %w", err)
	}
	return nil
}

// hear returns what PID 1 says next, or an io.EOF: it is gone.
func (p pidOne) hear() (w word, err error) {
	if err := p.said.Decode(&w); err != nil {
		return w, fmt.Errorf("listening to PID 1: %w", err)
	}
	return w, nil
}
