package cli

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
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/state"
)

// etcdPassword is where the password of --etcd-user comes from when it is not
// in a file: a command line can be read by every user of the host.
const etcdPassword = "GILD_ETCD_PASSWORD"

// etcdOptions say which etcd holds the state.
type etcdOptions struct {
	endpoints     []string
	ca, cert, key string
	user, secret  string
	prefix        string
}

func (o *etcdOptions) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.endpoints, "etcd", nil, "keep the state in your etcd cluster: `https://a:2379,https://b:2379` (default: in the data directory)")
	f.StringVar(&o.ca, "etcd-ca", "", "`file` with the certificates that etcd's is checked against (default: the system's)")
	f.StringVar(&o.cert, "etcd-cert", "", "`file` with the certificate to show to etcd")
	f.StringVar(&o.key, "etcd-key", "", "`file` with its key")
	f.StringVar(&o.user, "etcd-user", "", "`name` of the user of etcd; its password comes from --etcd-password-file or "+etcdPassword)
	f.StringVar(&o.secret, "etcd-password-file", "", "`file` with the password of --etcd-user")
	f.StringVar(&o.prefix, "etcd-prefix", server.DefaultPrefix, "what all keys in etcd begin with; servers of one room have the same `prefix`")
}

// cluster returns nil when the state is kept in the data directory.
func (o *etcdOptions) cluster() (*state.Cluster, error) {
	if len(o.endpoints) == 0 {
		if o.ca+o.cert+o.key+o.user+o.secret != "" {
			return nil, exit.Usage(errors.New("--etcd-... says how to reach an etcd, but --etcd names none"))
		}
		return nil, nil
	}
	c := &state.Cluster{Endpoints: o.endpoints, CA: o.ca, Cert: o.cert, Key: o.key, User: o.user}
	switch {
	case o.user == "" && o.secret != "":
		return nil, exit.Usage(errors.New("--etcd-password-file is given without --etcd-user"))
	case o.user == "":
		return c, nil
	case o.secret == "":
		c.Password = os.Getenv(etcdPassword)
	default:
		p, err := os.ReadFile(o.secret)
		if err != nil {
			return nil, fmt.Errorf("reading etcd's password: %w", err)
		}
		c.Password = strings.TrimRight(string(p), "\r\n")
	}
	if c.Password == "" {
		return nil, exit.Usage(exit.Hint(errors.New("--etcd-user has no password"), "name a file with --etcd-password-file, or set "+etcdPassword))
	}
	return c, nil
}

// addrs are the addresses of the cluster's members, of those that are named by
// one.
func (o *etcdOptions) addrs() (all []netip.Addr) {
	for _, e := range o.endpoints {
		if u, err := url.Parse(e); err == nil {
			if a, err := netip.ParseAddr(u.Hostname()); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// keys is what all keys begin with, as the server has it.
func (o *etcdOptions) keys() string { return server.Prefix(o.prefix) }

// store connects to the operator's cluster; nil: the state is in the data
// directory. done ends the connection.
func (o *etcdOptions) store(ctx context.Context) (s *state.Store, done func(), err error) {
	c, err := o.cluster()
	if err != nil || c == nil {
		return nil, nil, err
	}
	client, err := c.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return server.NewStore(client, o.prefix), func() { _ = client.Close() }, nil
}
