package room

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// fresh asks by a connection of its own each time, as firmware does.
var fresh = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// bystander is two machines that are not armed, one that the operator knows and
// one that nobody does. Whatever happens to the server they must boot their
// local disk.
type bystander struct {
	end            context.CancelFunc
	done           chan struct{}
	booted, silent int // answers; connections without one, after which iPXE asks again
	wrong          map[string]int
}

// bystand lets them ask until stop.
func bystand(t *testing.T, r *crowd) *bystander {
	t.Helper()
	const known, unknown = "52:54:00:ff:01:01", "52:54:00:ff:01:02"
	if _, err := r.operator.Register(t.Context(), api.Spec{Name: "bystander", MACs: []string{known}}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	b := &bystander{end: end, done: make(chan struct{}), wrong: map[string]int{}}
	go func() {
		defer close(b.done)
		rest := time.NewTicker(100 * time.Millisecond)
		defer rest.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			b.boot(ctx, []string{known, unknown}[n%2])
			<-rest.C
		}
	}()
	return b
}

func (b *bystander) boot(ctx context.Context, mac string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://%s:%d/machine.ipxe?platform=efi&arch=x86_64&mac=%s", segmentHost, bootPort, mac), nil)
	if err != nil {
		b.wrong[err.Error()]++
		return
	}
	resp, err := fresh.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			b.silent++
		}
		return
	}
	defer resp.Body.Close()
	script, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		b.silent++
	case resp.StatusCode != http.StatusOK:
		b.wrong[resp.Status]++
	case strings.Contains(string(script), "gild.server="):
		b.wrong["the agent"]++
	default:
		b.booted++
	}
}

func (b *bystander) stop(t *testing.T) {
	t.Helper()
	b.end()
	<-b.done
	for what, n := range b.wrong {
		t.Errorf("machines that are not armed were given %s instead of their local disk, %d times", what, n)
	}
	if b.booted == 0 {
		t.Error("no machine that is not armed has booted")
	}
	t.Logf("machines that are not armed booted their disks %d times; %d times they had no answer and asked again", b.booted, b.silent)
}

// strangerHello says the hello of a machine that nobody knows, and returns how
// long the answer took.
func strangerHello(ctx context.Context, n int) (time.Duration, error) {
	m := newMachine(1<<21+n, "/", "")
	p, err := json.Marshal(api.Hello{Version: api.Version, Session: fmt.Sprint("stranger", n), Inventory: m.inventory()})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s:%d%s", segmentHost, bootPort, api.PathHello),
		bytes.NewReader(p))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	start := time.Now()
	resp, err := fresh.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, errors.New(resp.Status)
	}
	return time.Since(start), nil
}
