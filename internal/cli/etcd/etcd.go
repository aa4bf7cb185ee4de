// Package etcd is the flags that say which etcd holds the state.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// PasswordVariable is where the password of --etcd-user comes from when it is
// not in a file: a command line can be read by every user of the host.
const PasswordVariable = "GILD_ETCD_PASSWORD"

// Options say which etcd holds the state.
type Options struct {
	endpoints     []string
	ca, cert, key string
	user, secret  string
	Prefix        string // of all keys, as given
}

// Register adds the flags to those of a command.
func (o *Options) Register(f *pflag.FlagSet) {
	f.StringSliceVar(&o.endpoints, "etcd", nil,
		"keep the state in an etcd cluster: `https://a:2379,https://b:2379` (default: in the data directory)")
	f.StringVar(&o.ca, "etcd-ca", "", "`file` with CA certificates to verify etcd with (default: the system's)")
	f.StringVar(&o.cert, "etcd-cert", "", "client certificate `file` for etcd")
	f.StringVar(&o.key, "etcd-key", "", "private key `file` of --etcd-cert")
	f.StringVar(&o.user, "etcd-user", "", "etcd user `name`; the password is read from --etcd-password-file or "+PasswordVariable)
	f.StringVar(&o.secret, "etcd-password-file", "", "`file` with the password of --etcd-user")
	f.StringVar(&o.Prefix, "etcd-prefix", machines.DefaultPrefix, "`prefix` of all keys in etcd; the same for all servers of a cluster")
}

// Cluster returns nil when the state is kept in the data directory. The
// password is the one to take where no file has it.
func (o *Options) Cluster(password string) (*etcd.Cluster, error) {
	if len(o.endpoints) == 0 {
		if o.ca+o.cert+o.key+o.user+o.secret != "" {
			return nil, exit.Usage(errors.New("--etcd is missing: the other --etcd-... flags need it"))
		}
		return nil, nil
	}
	c := &etcd.Cluster{Endpoints: o.endpoints, CA: o.ca, Cert: o.cert, Key: o.key, User: o.user}
	switch {
	case o.user == "" && o.secret != "":
		return nil, exit.Usage(errors.New("--etcd-password-file needs --etcd-user"))
	case o.user == "":
		return c, nil
	case o.secret == "":
		c.Password = password
	default:
		p, err := os.ReadFile(o.secret)
		if err != nil {
			return nil, fmt.Errorf("reading etcd's password: %w", err)
		}
		c.Password = strings.TrimRight(string(p), "\r\n")
	}
	if c.Password == "" {
		return nil, exit.Usage(exit.Hint(errors.New("no password for --etcd-user"), "give --etcd-password-file, or set "+PasswordVariable))
	}
	return c, nil
}

// Addrs are the addresses of the cluster's members, of those that are named by
// one.
func (o *Options) Addrs() (all []netip.Addr) {
	for _, e := range o.endpoints {
		if u, err := url.Parse(e); err == nil {
			if a, err := netip.ParseAddr(u.Hostname()); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// Keys is what all keys begin with, as the server has it.
func (o *Options) Keys() string { return machines.Prefix(o.Prefix) }

// Store connects to the operator's cluster; nil: the state is in the data
// directory. done ends the connection.
func (o *Options) Store(ctx context.Context, password string) (s *state.Store, done func(), err error) {
	c, err := o.Cluster(password)
	if err != nil || c == nil {
		return nil, nil, err
	}
	client, err := c.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return machines.NewStore(client, o.Prefix), func() { _ = client.Close() }, nil
}

// Files are those that the flags name.
func (o *Options) Files() []string { return []string{o.ca, o.cert, o.key, o.secret} }
