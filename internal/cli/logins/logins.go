// Package logins keeps how a user reaches servers, in a file of the user's own.
package logins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/wholefile"
)

// Login is one server, with what opens it.
type Login struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Token string `json:"token,omitempty"` // the admin token
	CA    string `json:"ca,omitempty"`    // certificates that it is verified with, PEM; empty: the system's
}

// Logins is the file.
type Logins struct {
	Current string  `json:"current,omitempty"` // name of the one that counts where no server is named
	Servers []Login `json:"servers"`           // by name
}

// Path is where the file is: below $XDG_CONFIG_HOME, else ~/.config (XDG Base
// Directory Specification). Without a home directory there is none, and it is
// empty.
func Path(getenv func(string) string) string {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // the specification has others ignored
		home := getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "gild", "logins.json")
}

// maxFile bounds the file in bytes.
const maxFile = 1 << 20

// Load reads the file; one that is not there has no logins. A file that others
// can read is an error, as it holds tokens.
func Load(path string) (Logins, error) {
	var l Logins
	info, err := os.Stat(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("reading logins: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular() || info.Size() > maxFile:
		return l, fmt.Errorf("reading logins: %s is no file of gild's", path)
	case mode.Perm()&0o077 != 0:
		return l, fmt.Errorf("reading logins: others can read the tokens in %s: chmod 600 %s", path, path)
	}
	p, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(p, &l)
	}
	if err != nil {
		return l, fmt.Errorf("reading logins: %s: %w", path, err)
	}
	return l, nil
}

// Save writes the file, for its user alone.
func (l Logins) Save(path string) error {
	if path == "" {
		return errors.New("no home directory to keep a login in: set XDG_CONFIG_HOME")
	}
	p, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	return wholefile.Bytes(path, 0o600, append(p, '\n'))
}

// Named is the login of a name.
func (l Logins) Named(name string) (Login, bool) {
	for _, s := range l.Servers {
		if s.Name == name {
			return s, true
		}
	}
	return Login{}, false
}

// At is the login of a server; url empty: the current one.
func (l Logins) At(url string) (Login, bool) {
	if url == "" {
		return l.Named(l.Current)
	}
	for _, s := range l.Servers {
		if s.URL == strings.TrimSuffix(url, "/") {
			return s, true
		}
	}
	return Login{}, false
}

// With has a login as the current one, in the place of any of its name.
func (l Logins) With(s Login) Logins {
	all := append(l.Without(s.Name).Servers, s)
	slices.SortFunc(all, func(a, b Login) int { return strings.Compare(a.Name, b.Name) })
	return Logins{Current: s.Name, Servers: all}
}

// Without lacks the login of a name. None is current then where that one was.
func (l Logins) Without(name string) Logins {
	out := Logins{Current: l.Current, Servers: slices.DeleteFunc(slices.Clone(l.Servers), func(s Login) bool { return s.Name == name })}
	if out.Current == name {
		out.Current = ""
	}
	return out
}
