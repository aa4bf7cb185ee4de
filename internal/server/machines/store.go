package machines

import (
	"cmp"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// DefaultPrefix is where gild's keys are in an etcd.
const DefaultPrefix = "/gild/"

// Prefix brings what all keys begin with into its form; empty is
// DefaultPrefix.
func Prefix(prefix string) string {
	return "/" + strings.Trim(cmp.Or(prefix, DefaultPrefix), "/") + "/"
}

// NewStore is the store of a room of machines: its keys begin with prefix.
func NewStore(client *clientv3.Client, prefix string) *state.Store {
	return state.New(keys.Space{Client: client, Prefix: Prefix(prefix)}, fleet.Labels, fleet.KeptEvents)
}
