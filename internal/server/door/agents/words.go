package agents

import (
	"errors"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/door/reply"
)

// words bounds how often agents speak: of one source address, and of one
// machine from there. An agent that has to wait loses nothing, it says the same
// again.
type words struct {
	ofOne, ofAgent budget.Limiter
}

// maxSpeakers bounds the memory: those that are told apart.
const maxSpeakers = 1 << 16

func newWords() *words {
	return &words{
		ofOne:   budget.Limiter{Rate: budget.WordsRate, Burst: budget.WordsBurst, Keys: maxSpeakers},
		ofAgent: budget.Limiter{Rate: budget.SessionRate, Burst: budget.SessionBurst, Keys: maxSpeakers},
	}
}

// heard notes a word of the machine that a request is of; one that is too many
// is a *reply.Refusal.
func (s *words) heard(r *http.Request, mac string) error {
	from, now := budget.Sender(r.RemoteAddr).String(), time.Now()
	if !s.ofAgent.Allow(from+" "+mac, now) || !s.ofOne.Allow(from, now) {
		return &reply.Refusal{
			Status: http.StatusTooManyRequests,
			Err:    errors.New("too many words of this machine at once; say it again in a moment"),
		}
	}
	return nil
}
