package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
)

// firewall asks the kernel's packet filter by the nft program, which also
// shows what iptables (as every current distribution has it), ufw and
// firewalld have made.
func firewall(ctx context.Context, p *Patient) []Finding {
	nft, err := lookNft()
	if err != nil {
		return one(Unknown, "the nft program is not here, so the packet filter was not looked at",
			"apt-get install nftables, or check by hand that the ports below are open")
	}
	out, err := exec.CommandContext(ctx, nft, "-j", "list", "ruleset").Output()
	if err != nil {
		return one(Unknown, "the packet filter could not be listed", "run as root")
	}
	shut, chain, err := closed(out, p.Interface, p.ports())
	if err != nil {
		return one(Unknown, "the packet filter's rules could not be read: "+err.Error(), "")
	}
	if len(shut) == 0 {
		return one(OK, "lets the server's ports through, as far as its rules can be read", "")
	}
	var names, open []string
	for _, q := range shut {
		names = append(names, fmt.Sprintf("%s %d (%s)", strings.ToUpper(q.network), q.number, q.name))
		open = append(open, fmt.Sprintf("%d/%s", q.number, q.network))
	}
	return one(Warning, fmt.Sprintf("%s drops what it does not know, and no rule lets %s in", chain, strings.Join(names, ", ")),
		"open "+strings.Join(open, " ")+" (ufw allow PORT/PROTO, or firewall-cmd --add-port=PORT/PROTO)")
}

func lookNft() (string, error) {
	// A user's PATH often lacks the directories of the administrator.
	for _, path := range []string{"nft", "/usr/sbin/nft", "/sbin/nft"} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fs.ErrNotExist
}

// The parts of `nft -j list ruleset` that matter (libnftables-json(5)).
type (
	ruleset struct {
		Nftables []nftEntry `json:"nftables"`
	}
	nftEntry struct {
		Chain *nftChain `json:"chain"`
		Rule  *nftRule  `json:"rule"`
	}
	nftChain struct {
		Family, Table, Name, Hook, Policy string
	}
	nftRule struct {
		Family, Table, Chain string
		Expr                 []map[string]json.RawMessage
	}
	nftMatch struct {
		Left struct {
			Payload struct{ Protocol, Field string }
			Meta    struct{ Key string }
		}
		Right json.RawMessage
	}
)

// closed returns which ports no rule of a dropping input chain lets in, and
// the chain's name. It reads rules generously: any rule of the chain's table
// that accepts the port, or all of the interface, counts, wherever it stands.
// So what it reports is shut for certain, and what it passes may still be.
func closed(ruleText []byte, iface string, wanted []port) ([]port, string, error) {
	var set ruleset
	if err := json.Unmarshal(ruleText, &set); err != nil {
		return nil, "", err
	}
	if len(set.Nftables) == 0 {
		return nil, "", errors.New("no ruleset in the answer")
	}
	for _, entry := range set.Nftables {
		c := entry.Chain
		if c == nil || c.Hook != "input" || c.Policy != "drop" {
			continue
		}
		var shut []port
		for _, q := range wanted {
			open := slices.ContainsFunc(set.Nftables, func(e nftEntry) bool {
				return e.Rule != nil && e.Rule.Family == c.Family && e.Rule.Table == c.Table && e.Rule.accepts(q, iface)
			})
			// Loopback is let through by every filter that works at all.
			if !open && q.host != "127.0.0.1" {
				shut = append(shut, q)
			}
		}
		if len(shut) > 0 {
			return shut, fmt.Sprintf("chain %s of table %s", c.Name, c.Table), nil
		}
	}
	return nil, "", nil
}

// accepts reports whether the rule lets a new packet for the port in.
func (r *nftRule) accepts(q port, iface string) bool {
	verdict, narrowed := false, false
	for _, e := range r.Expr {
		if _, ok := e["accept"]; ok {
			verdict = true
		}
		raw, ok := e["match"]
		if !ok {
			continue
		}
		var m nftMatch
		if json.Unmarshal(raw, &m) != nil {
			return false
		}
		switch {
		case m.Left.Payload.Field == "dport":
			if m.Left.Payload.Protocol != q.network && m.Left.Payload.Protocol != "th" || !holds(m.Right, q.number) {
				return false
			}
		case m.Left.Meta.Key == "iifname" || m.Left.Meta.Key == "iif":
			if !strings.Contains(string(m.Right), `"`+iface+`"`) {
				return false
			}
		case m.Left.Meta.Key == "l4proto":
			if !strings.Contains(string(m.Right), q.network) {
				return false
			}
		default:
			narrowed = true // by address, state, limit: such a rule does not open a port
		}
	}
	return verdict && !narrowed
}

// holds reports whether the right side of a match has the port in it: a
// number, a range or a set of both.
func holds(right json.RawMessage, port int) bool {
	var n int
	if json.Unmarshal(right, &n) == nil {
		return n == port
	}
	var v struct {
		Range []int             `json:"range"`
		Set   []json.RawMessage `json:"set"`
	}
	if json.Unmarshal(right, &v) != nil {
		return false
	}
	if len(v.Range) == 2 {
		return v.Range[0] <= port && port <= v.Range[1]
	}
	return slices.ContainsFunc(v.Set, func(r json.RawMessage) bool { return holds(r, port) })
}
