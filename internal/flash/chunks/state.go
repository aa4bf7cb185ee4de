package chunks

import "fmt"

// State is how far a chunk has come.
type State uint8

// The states, in the order in which a chunk comes closer to being done: from
// Written on its bytes are on the disk, from Verified on they are right.
const (
	Unknown   State = iota // the disk may hold it: nobody has looked
	Examining              // a reader is looking
	Absent                 // not on the disk, or not worth looking
	Fetching               // claimed by the worker that brings it
	Landing                // its bytes are on their way to the disk
	Written                // on the disk, or in its cache, or held in memory
	Proving                // being read back, and before that perhaps written again
	Wrong                  // read back other than written
	Verified               // read from the medium and found right
	Owned                  // written to by the system that runs from the disk
	states    = iota
)

var stateNames = [states]string{
	"unknown", "examining", "absent", "fetching", "landing", "written", "proving", "wrong", "verified", "owned",
}

func (s State) String() string {
	if int(s) >= states {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

// moves are the changes of state that there are, and what makes each of them.
// Every change goes through Map.move, which makes no other. Nothing leads out
// of Owned: what a system has written is nobody's to prove or to write again.
var moves = [states][states]string{
	Unknown: {
		Examining: "a reader claims it",
		Absent:    "a probe finds something else, or to look is not worth it",
		Verified:  "a probe finds it",
		Owned:     "a system has overwritten all of it",
	},
	Examining: {
		Absent:   "the reader finds something else",
		Verified: "the reader finds it",
		Owned:    "the reader finds it, and a system has written to it meanwhile",
	},
	Absent: {
		Unknown:  "the disk may hold it",
		Fetching: "a worker claims it",
		Landing:  "it is zeros, and the disk is about to make them",
		Written:  "it is held for the seal, and was fetched before the first write",
		Owned:    "a system has overwritten all of it",
	},
	Fetching: {
		Absent:  "the worker gives it back",
		Landing: "its bytes are there, and no write of a system is under way",
		Written: "its bytes are held for the seal",
	},
	Landing: {
		Written: "the disk has taken it",
		Owned:   "the disk has taken it around what a system wrote",
	},
	Written: {
		Proving: "a prover claims it",
		Owned:   "a system writes to it, and what is written counts as proved",
	},
	Proving: {
		Verified: "it reads back right",
		Wrong:    "it reads back wrong",
	},
	Wrong: {
		Proving: "a mender claims it",
	},
	Verified: {
		Unknown: "a probe has found it, too early to count",
		Proving: "a write has gone astray, or zeroing was under way when it was proved",
		Owned:   "a system writes to it",
	},
}

// underWay reports whether somebody is at work on a chunk in this state. Nobody
// waits for that to begin.
func (s State) underWay() bool {
	return s == Examining || s == Fetching || s == Landing || s == Proving
}

// looking reports whether the disk may hold a chunk in this state.
func (s State) looking() bool { return s == Unknown || s == Examining }
