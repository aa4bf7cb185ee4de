package netif

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/gild-dev/gild/internal/backoff"
)

// nameEvery is how often it is looked whether udev has chosen: what configures
// the link waits for udev at best, and not for us.
const nameEvery = 20 * time.Millisecond

// Name gives the link the name that the udev of the system at root has chosen
// for it, once it has. Before Linux 6.2 udev itself cannot: a link that is up
// keeps its name. What comes after that is the system's own doing. It may wait
// for the system's disk, and returns when ctx is done at the latest.
func Name(ctx context.Context, h Handed, root string, log *slog.Logger) {
	for backoff.Sleep(ctx, nameEvery) == nil {
		name := h.nameByUdev(filepath.Join(root, "run/udev/data"))
		if name == "" {
			continue
		}
		if namesLinks(root) {
			log.Info("the link keeps its name: the system's own rules name links", "not", name)
		} else if err := h.rename(name); err != nil {
			log.Warn("the link keeps its name", "not", name, "error", err)
		}
		return
	}
}

// nameByUdev returns the name that udev's records have for the link
// (systemd.link(5), ID_NET_NAME), "" before there is one, or if names are kept.
func (h Handed) nameByUdev(records string) string {
	text, err := os.ReadFile(filepath.Join(records, fmt.Sprintf("n%d", h.Index)))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "E:ID_NET_NAME="); ok {
			return name
		}
	}
	return ""
}

// namesLinks reports whether rules of the system's own may give links other
// names than ID_NET_NAME.
func namesLinks(root string) bool {
	own, _ := filepath.Glob(filepath.Join(root, "etc/udev/rules.d/*.rules"))
	bios, _ := filepath.Glob(filepath.Join(root, "usr/lib/udev/rules.d/*biosdevname*.rules"))
	return slices.ContainsFunc(append(own, bios...), func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && slices.ContainsFunc(strings.Split(string(text), "\n"), givesName)
	})
}

// givesName reports whether a line of rules gives a name (udev(7)); == would
// only ask for one.
func givesName(line string) bool {
	for term := range strings.SplitSeq(line, ",") {
		term = strings.TrimSpace(term)
		if strings.HasPrefix(term, `NAME="`) || strings.HasPrefix(term, `NAME:="`) {
			return true
		}
	}
	return false
}

func (h Handed) rename(name string) error {
	link, err := netlink.LinkByIndex(h.Index)
	if err != nil || link.Attrs().Name == name {
		return err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return err
	}
	// udev has given it as an alternative at least, which stands in the way.
	_ = netlink.LinkDelAltName(link, name)
	err = netlink.LinkSetName(link, name)
	if err = errors.Join(err, h.restore(link)); err != nil {
		return err
	}
	// Rules and units that wait for a link of this name hear of one that came.
	return os.WriteFile(filepath.Join("/sys/class/net", name, "uevent"), []byte("add"), 0)
}
