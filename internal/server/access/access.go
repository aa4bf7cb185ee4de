// Package access tells who may enter, by the admin token or a session.
package access

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"
)

// Access is who may enter off loopback, as it is kept: hashes, from which
// nobody can enter. 256 random bits need no slow hash.
type Access struct {
	Token    string    `json:"token"` // SHA-256 of the admin token, hex
	Sessions []Session `json:"sessions,omitempty"`
}

// Session is one browser that has shown the token.
type Session struct {
	Hash    string    `json:"hash"` // SHA-256 of the cookie's value, hex
	Expires time.Time `json:"expires"`
}

// Store keeps one Access for all servers of a cluster, so that a browser
// can continue with another server when its own is gone.
type Store interface {
	// LoadAccess returns the zero value when there is none yet.
	LoadAccess(ctx context.Context) (Access, error)
	// ChangeAccess changes it in one transaction; change may be called again.
	ChangeAccess(ctx context.Context, change func(*Access)) error
}

const (
	sessionLasts = 12 * time.Hour
	// maxSessions is more browsers than two operators have; the one that ends
	// first makes room for the next.
	maxSessions = 64
)

// has tells whether token is the admin token, in a time that does not depend
// on how much of it is right.
func (a *Access) has(token string) bool {
	h := hash(strings.TrimPrefix(strings.TrimSpace(token), "gild-"))
	return a.Token != "" && subtle.ConstantTimeCompare([]byte(h), []byte(a.Token)) == 1
}

func (a *Access) session(value string, now time.Time) bool {
	h, found := hash(value), false
	for _, s := range a.Sessions {
		if subtle.ConstantTimeCompare([]byte(h), []byte(s.Hash)) == 1 && now.Before(s.Expires) {
			found = true
		}
	}
	return found
}

// open adds a session and drops those that are over.
func (a *Access) open(secret string, now time.Time) {
	var live []Session
	for _, s := range a.Sessions {
		if now.Before(s.Expires) {
			live = append(live, s)
		}
	}
	if len(live) >= maxSessions {
		live = live[len(live)-maxSessions+1:]
	}
	a.Sessions = append(live, Session{Hash: hash(secret), Expires: now.Add(sessionLasts)})
}
