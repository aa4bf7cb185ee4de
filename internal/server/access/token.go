package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// EnsureToken makes the admin token at the first start and returns it, the
// only time that it is ever known here; later it returns "".
func EnsureToken(ctx context.Context, store Store) (string, error) {
	have, err := store.LoadAccess(ctx)
	if err != nil || have.Token != "" {
		return "", err
	}
	token := newSecret()
	made := false
	// Two servers may start at once: one of them makes it.
	err = store.ChangeAccess(ctx, func(a *Access) {
		if made = a.Token == ""; made {
			a.Token = hash(token)
		}
	})
	if err != nil && kept(ctx, store, token) {
		made, err = true, nil
	}
	if err != nil || !made {
		return "", err
	}
	return "gild-" + token, nil
}

// kept reports whether a token is the one that counts, after a change of which
// it is not known whether it was made: a token that was made and not told would
// keep everybody out.
func kept(ctx context.Context, store Store, token string) bool {
	now, err := store.LoadAccess(ctx)
	return err == nil && now.Token == hash(token)
}

// ReplaceToken makes a new admin token and returns it. The old one and every
// session end with it.
func ReplaceToken(ctx context.Context, store Store) (string, error) {
	token := newSecret()
	err := store.ChangeAccess(ctx, func(a *Access) { *a = Access{Token: hash(token)} })
	if err != nil && !kept(ctx, store, token) {
		return "", err
	}
	return "gild-" + token, nil
}

// newSecret returns 32 random bytes as text.
func newSecret() string {
	p := make([]byte, 32)
	_, _ = rand.Read(p) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(p)
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
