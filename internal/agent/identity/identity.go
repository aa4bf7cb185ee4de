// Package identity makes the system on a freshly written disk a machine of its
// own: name, keys, network, files.
//
// It works on a mounted root and runs nothing of it. The content of the root
// is foreign; nothing in it can make a write land elsewhere. Writing the same
// identity again gives the same result but for keys, which are made anew.
package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// Job is one identity for one root.
type Job struct {
	Identity api.Identity
	// Plan names the instance for cloud-init: a machine that is flashed again
	// is a new instance.
	Plan string
	// MAC is of the link that the agent came by.
	MAC string
	// CA is the certificate, in PEM, of who signs for the server; empty: nobody
	// does, and the new system speaks to it in plain HTTP.
	CA []byte
}

// Write writes the identity below dir, where the root is mounted for writing.
// It returns what a person should know of it; no note and no error holds
// anything of a file's content.
func Write(dir string, j Job) (notes []string, err error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	w := &writer{tree: t, Job: j}
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"accounts", w.readAccounts},
		{"host name", w.hostname},
		{"machine id", w.machineID},
		{"SSH host keys", w.hostKeys},
		{"network", w.network},
		{"authorized keys", w.authorizedKeys},
		{"cloud-init seed", w.cloudInit},
		{"credentials", w.credentials},
		{"files", w.files},
		{"beacon", w.beacon},
	} {
		if err := part.do(); err != nil {
			return w.notes, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return w.notes, nil
}

type writer struct {
	*tree
	Job
	users, groups map[string]account
	notes         []string
}

func (w *writer) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// account is a line of passwd or group.
type account struct {
	id, group int
	home      string
}

// readAccounts reads who is known in the new system.
func (w *writer) readAccounts() error {
	passwd, err := w.text("/etc/passwd")
	if err != nil {
		return err
	}
	group, err := w.text("/etc/group")
	if err != nil {
		return err
	}
	w.users, w.groups = accounts(passwd), accounts(group)
	return nil
}

// accounts reads lines of passwd(5) or group(5). Lines that are none are
// skipped, as the C library does.
func accounts(text string) map[string]account {
	all := map[string]account{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 31)
		if _, twice := all[f[0]]; err != nil || twice {
			continue
		}
		a := account{id: int(id)}
		if len(f) >= 6 {
			gid, err := strconv.ParseUint(f[3], 10, 31)
			if err != nil {
				continue
			}
			a.group, a.home = int(gid), f[5]
		}
		all[f[0]] = a
	}
	return all
}

// who turns names into an owner; empty ones are root.
func (w *writer) who(user, group string) (owner, error) {
	o := root
	if user != "" && user != "root" {
		a, ok := w.users[user]
		if !ok {
			return o, fmt.Errorf("the image has no user %.40q", user)
		}
		o = owner{a.id, a.group}
	}
	if group != "" && group != "root" {
		g, ok := w.groups[group]
		if !ok {
			return o, fmt.Errorf("the image has no group %.40q", group)
		}
		o.gid = g.id
	} else if group == "root" {
		o.gid = 0
	}
	return o, nil
}

// hostname writes the name, and the line by which it resolves without a name
// server.
func (w *writer) hostname() error {
	name := w.Identity.Hostname
	if name == "" {
		return nil
	}
	if err := w.write("/etc/hostname", name+"\n", 0o644, root); err != nil {
		return err
	}
	hosts, err := w.text("/etc/hosts")
	if err != nil {
		return err
	}
	names := name
	if short, _, dotted := strings.Cut(name, "."); dotted {
		names += " " + short
	}
	return w.write("/etc/hosts", withHost(hosts, "127.0.1.1", names), 0o644, root)
}

// withHost replaces the line of an address in hosts(5), or adds it after that
// of localhost.
func withHost(hosts, addr, names string) string {
	if strings.TrimSpace(hosts) == "" {
		hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	}
	var out []string
	placed := -1
	for line := range strings.Lines(hosts) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == addr {
			continue
		}
		out = append(out, line)
		if len(f) > 0 && f[0] == "127.0.0.1" {
			placed = len(out)
		}
	}
	if placed < 0 {
		placed = len(out)
	}
	return strings.Join(slices.Insert(out, placed, addr+" "+names), "\n") + "\n"
}

// An empty machine-id makes systemd draw one at its start (machine-id(5)). One
// that is missing or says "uninitialized" would also count as the first boot
// of a new system and apply presets, which changes the image's services.
func (w *writer) machineID() error {
	id := w.Identity.MachineID
	if id == "keep" {
		return nil
	}
	if id == "new" || id == "" {
		id = ""
	} else {
		id += "\n"
	}
	if id != "" || w.exists("/etc/machine-id") || w.exists("/usr/lib/systemd/systemd") || w.exists("/lib/systemd/systemd") {
		if err := w.write("/etc/machine-id", id, 0o444, root); err != nil {
			return err
		}
	}
	if w.exists("/var/lib/dbus/machine-id") {
		if err := w.link("/etc/machine-id", "/var/lib/dbus/machine-id"); err != nil {
			return err
		}
	}
	// What else is drawn once per system, and must not be the same on two.
	for _, name := range []string{
		"/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/NetworkManager/secret_key",
		"/var/lib/NetworkManager/timestamps", "/var/lib/urandom/random-seed",
	} {
		if err := w.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// authorizedKeys replaces the keys of each user named: what the image was
// built with opens no clone.
func (w *writer) authorizedKeys() error {
	for _, user := range slices.Sorted(maps.Keys(w.Identity.AuthorizedKeys)) {
		a, ok := w.users[user]
		if !ok {
			return fmt.Errorf("the image has no user %.40q", user)
		}
		if !strings.HasPrefix(a.home, "/") || !w.exists(a.home) {
			return fmt.Errorf("user %.40q has no home directory in the image", user)
		}
		who := owner{a.id, a.group}
		if err := w.mkdir(a.home+"/.ssh", 0o700, who); err != nil {
			return err
		}
		text := strings.Join(w.Identity.AuthorizedKeys[user], "\n") + "\n"
		if err := w.write(a.home+"/.ssh/authorized_keys", text, 0o600, who); err != nil {
			return err
		}
	}
	return nil
}

// cloudInit writes a NoCloud seed, which cloud-init finds without being told.
func (w *writer) cloudInit() error {
	c := w.Identity.CloudInit
	if c == nil {
		return nil
	}
	if !w.exists("/usr/bin/cloud-init") {
		w.note("the image has no cloud-init: its seed is written, but nothing will read it")
	}
	meta := c.MetaData
	if meta == "" {
		meta = "instance-id: gild-" + strings.ToLower(w.Plan) + "\n"
		if w.Identity.Hostname != "" {
			meta += "local-hostname: " + w.Identity.Hostname + "\n"
		}
	}
	const seed = "/var/lib/cloud/seed/nocloud/"
	if err := w.mkdir(seed, 0o700, root); err != nil {
		return err
	}
	user := c.UserData
	if user == "" {
		user = "#cloud-config\n{}\n" // without this file the seed does not count
	}
	for name, text := range map[string]string{
		"meta-data": meta, "user-data": user, "network-config": c.NetworkConfig, "vendor-data": c.VendorData,
	} {
		if text == "" {
			continue
		}
		if err := w.write(seed+name, text, 0o600, root); err != nil {
			return err
		}
	}
	return nil
}

// credentials are where systemd looks for what a service loads by name
// (systemd.exec(5), LoadCredential=).
func (w *writer) credentials() error {
	for _, name := range slices.Sorted(maps.Keys(w.Identity.Credentials)) {
		if err := w.mkdir("/etc/credstore", 0o700, root); err != nil {
			return err
		}
		if err := w.write("/etc/credstore/"+name, w.Identity.Credentials[name], 0o600, root); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) files() error {
	for _, f := range w.Identity.Files {
		mode := uint64(0o644)
		if f.Mode != "" {
			var err error
			if mode, err = strconv.ParseUint(f.Mode, 8, 12); err != nil {
				return fmt.Errorf("%s: mode %.10q is not octal", f.Path, f.Mode)
			}
		}
		who, err := w.who(f.Owner, f.Group)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if !strings.HasPrefix(f.Path, "/") || strings.HasSuffix(f.Path, "/") {
			return fmt.Errorf("%.200q: %w", f.Path, fs.ErrInvalid)
		}
		if err := w.write(f.Path, f.Content, uint32(mode), who); err != nil {
			return err
		}
	}
	return nil
}

// errNoSystemd says why no unit can be set up.
var errNoSystemd = errors.New("the image has no systemd")
