package dashboard

import (
	"fmt"
	"net/http"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/units"
)

// Fact is something to know of the server that makes the page.
type Fact struct {
	Name, Value string
	Odd         bool // an operator should look at it
}

// serversView is the servers of the cluster, and this one closely.
type serversView struct {
	Servers []api.Server
	Facts   []Fact
}

func (d *Dashboard) servers(r *http.Request) (string, frame, error) {
	servers, err := d.Room.Servers(r.Context())
	if err != nil {
		return "", frame{}, err
	}
	v := serversView{Servers: servers}
	if d.Facts != nil {
		v.Facts = d.Facts()
	}
	// That it cannot be told is no reason for no page.
	if usage, err := d.Room.StateUsage(r.Context()); err == nil {
		v.Facts = append(v.Facts, stateFact(usage))
	}
	return "servers", frame{Title: "Servers", Section: "servers", Body: v}, nil
}

func stateFact(u api.StateUsage) Fact {
	f := Fact{Name: "State database", Value: units.Bytes(u.InUse) + " in use", Odd: u.Full || u.Percent() >= api.StateNearlyFull}
	if u.Quota > 0 {
		f.Value += fmt.Sprintf(", %d %% of %s", u.Percent(), units.Bytes(u.Quota))
	}
	if u.Full {
		f.Value += ": full, nothing new is written down"
	}
	return f
}
