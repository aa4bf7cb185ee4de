// Package sealed keeps secrets that only servers of one cluster can open.
//
// Each server has a key of its own (age, X25519) in a file of its data
// directory, and its public half in the state. A secret is sealed for every
// server that there is, so that the state, and a backup of it, hold nothing
// that can be read without one of those files.
package sealed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/wholefile"
)

// Kinds of documents.
const (
	kindServer = "sealer"        // the public keys of servers, by themselves
	kindSecret = "sealed-secret" // by their names
)

// KeyFile is where a server's key is below its data directory.
func KeyFile(dataDir string) string { return filepath.Join(dataDir, "secrets.key") }

// maxSecret bounds a secret in bytes.
const maxSecret = 4096

// UnopenedError says that a secret is there which this server cannot open.
type UnopenedError struct {
	Name string
	Err  error
}

func (e *UnopenedError) Error() string {
	return "a stored password cannot be opened by this server: " + e.Err.Error()
}

func (e *UnopenedError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *UnopenedError) Hint() string {
	return "give the password again; or put the secrets.key of a server that was there when it was given into this one's data directory"
}

// Box seals and opens. Safe for concurrent use.
type Box struct {
	space keys.Space
	own   *age.X25519Identity
	now   func() time.Time
}

// Open takes the key of a data directory, makes it at the first start, and
// tells the other servers its public half.
func Open(ctx context.Context, space keys.Space, dataDir string) (*Box, error) {
	own, err := key(KeyFile(dataDir))
	if err != nil {
		return nil, err
	}
	b := &Box{space: space, own: own, now: time.Now}
	_, err = docs.Create(ctx, space, kindServer, own.Recipient().String(), time.Now().UTC())
	return b, err
}

// key reads the key of a file, or makes both.
func key(path string) (*age.X25519Identity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, fmt.Errorf("making the key that passwords are sealed with: %w", err)
		}
		return made, wholefile.Bytes(path, 0o600, []byte(made.String()+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key that passwords are sealed with: %w", err)
	}
	own, err := age.ParseX25519Identity(strings.TrimSpace(string(text)))
	if err != nil {
		// What is in the file is not shown.
		return nil, fmt.Errorf("%s holds no key: restore it, or remove it and give the passwords of BMCs again", path)
	}
	return own, nil
}

// kept is a secret as it is stored.
type kept struct {
	Sealed []byte    `json:"sealed"`
	Since  time.Time `json:"since"`
}

// content is what is sealed. The name is in it, so that one secret cannot be
// put in the place of another.
type content struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

// Put seals a secret under a name, in the place of what was there.
func (b *Box) Put(ctx context.Context, name, secret string) error {
	if len(secret) > maxSecret {
		return fmt.Errorf("a password of %d bytes: at most %d are kept", len(secret), maxSecret)
	}
	servers, err := docs.List[time.Time](ctx, b.space, kindServer)
	if err != nil {
		return err
	}
	to := []age.Recipient{b.own.Recipient()}
	for _, text := range slices.Sorted(maps.Keys(servers)) {
		if text == b.own.Recipient().String() {
			continue
		}
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return fmt.Errorf("the key of a server in the state is damaged: %w", err)
		}
		to = append(to, r)
	}
	text, err := json.Marshal(content{name, secret})
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to...)
	if err == nil {
		if _, err = w.Write(text); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("sealing a password: %w", err)
	}
	return docs.Put(ctx, b.space, kindSecret, name, kept{sealed.Bytes(), b.now().UTC()})
}

// Get opens the secret of a name; false: there is none. One that this server
// cannot open is an *UnopenedError.
func (b *Box) Get(ctx context.Context, name string) (secret string, found bool, err error) {
	var k kept
	if found, err = docs.Get(ctx, b.space, kindSecret, name, &k); err != nil || !found {
		return "", false, err
	}
	c, err := b.open(k.Sealed)
	if err == nil && c.Name != name {
		err = errors.New("it was sealed under another name")
	}
	if err != nil {
		return "", true, &UnopenedError{Name: name, Err: err}
	}
	return c.Secret, true, nil
}

func (b *Box) open(sealed []byte) (c content, err error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), b.own)
	if err != nil {
		return c, err
	}
	text, err := io.ReadAll(io.LimitReader(r, 8*maxSecret))
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}

// Has reports whether there is a secret of a name, opened or not.
func (b *Box) Has(ctx context.Context, name string) (bool, error) {
	var k kept
	return docs.Get(ctx, b.space, kindSecret, name, &k)
}

// graceful is how long a secret stays that nothing uses: what uses it may be
// about to be stored.
const graceful = time.Hour

// Sweep removes the secrets that nothing uses any more.
func (b *Box) Sweep(ctx context.Context, used func(name string) bool) error {
	all, err := docs.List[kept](ctx, b.space, kindSecret)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if used(name) || b.now().Sub(all[name].Since) < graceful {
			continue
		}
		if err := docs.Delete(ctx, b.space, kindSecret, name); err != nil {
			return err
		}
	}
	return nil
}
