package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// maxServers bounds what an answer can make the client remember.
const maxServers = 8

// servers are the servers of one cluster and which of them is asked now.
type servers struct {
	mu   sync.Mutex
	list []*url.URL // never empty
	at   int
	dumb time.Time // since when none has answered; zero: the last one asked did
}

// heard notes whether a request was answered, by whatever status. One that its
// caller gave up says nothing.
func (s *servers) heard(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.dumb = time.Time{}
	case s.dumb.IsZero() && !errors.Is(err, context.Canceled):
		s.dumb = time.Now()
	}
}

// Silent is for how long no server has answered; 0 when the last one asked did.
func (s *Servers) Silent() time.Duration {
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	if s.known.dumb.IsZero() {
		return 0
	}
	return time.Since(s.known.dumb)
}

// Moved says where a server may be now: it is asked next. Where there are too
// many, the one that was named last is forgotten. Whether it is one, the CA
// decides. It returns false when the address is none or was known.
func (s *Servers) Moved(base string) bool {
	u, err := parseBase(base)
	if err != nil {
		return false
	}
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	u.Scheme = s.known.list[0].Scheme
	if slices.ContainsFunc(s.known.list, func(k *url.URL) bool { return k.Host == u.Host }) {
		return false
	}
	if len(s.known.list) >= maxServers {
		s.known.list = s.known.list[:maxServers-1]
	}
	s.known.at = len(s.known.list)
	s.known.list = append(s.known.list, u)
	s.Reset()
	return true
}

func (s *servers) current() *url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[s.at]
}

// all returns every server, the one that is asked now first.
func (s *servers) all() []*url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(s.list[s.at:]), s.list[:s.at]...)
}

// failed continues to the next server, unless another call has already gone
// away from the one that answered u badly: eight calls that fail together must
// not go round the circle.
func (s *servers) failed(u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Host == s.list[s.at].Host {
		s.at = (s.at + 1) % len(s.list)
	}
}

// learn adds the servers that one of them names. Those that are known stay:
// the first ones came by the kernel command line, and one that is not named
// may only be restarting.
func (s *servers) learn(bases []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, base := range bases {
		u, err := parseBase(base)
		// An answer does not lead from https to http.
		if err != nil || len(s.list) >= maxServers || u.Scheme != s.list[0].Scheme {
			continue
		}
		if !slices.ContainsFunc(s.list, func(k *url.URL) bool { return k.Host == u.Host }) {
			s.list = append(s.list, u)
		}
	}
}

// Any makes one request for content of a server and, where that has not got
// what was asked for, of the others: each server of a cluster has its own
// images. What none has is the first one's answer; one that could not be asked
// may have it, so its error goes before.
func (s *Servers) Any(request func(base *url.URL) (*http.Response, error)) (*http.Response, error) {
	var missing, failed error
	for _, base := range s.known.all() {
		resp, err := request(s.content(base))
		if err == nil {
			return resp, nil
		}
		if !IsMissing(err) {
			if missing == nil {
				return nil, err // the next attempt goes to another
			}
			failed = err
			continue
		}
		if missing == nil {
			missing = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, missing
}

// IsMissing reports whether a server answered that it has no such thing.
func IsMissing(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Status == http.StatusNotFound
}
