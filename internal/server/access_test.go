package server

import (
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/server/local"
)

// Anywhere but on loopback nothing is told without the admin token, which is
// made at the first start, shown once and good for ever after.
func TestOperatorOffLoopback(t *testing.T) {
	s := newServer(t, t.TempDir())
	s.OperatorAddr = "0.0.0.0:0"
	first := start(t, s)
	if first.NewToken == "" {
		t.Fatal("first start shows no admin token")
	}
	get(t, first.BaseURL+"/machine.ipxe?mac="+mac)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, s)
	if again.NewToken != "" {
		t.Error("second start shows a token; want it shown once")
	}

	_, port, err := net.SplitHostPort(again.Operator)
	if err != nil {
		t.Fatal(err)
	}
	base := "http://127.0.0.1:" + port
	for _, path := range []string{api.PathMachines, api.PathEventStream, "/openapi.json", "/metrics", "/", "/log"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s without a token = %d; want 401", path, resp.StatusCode)
		}
	}

	for name, tt := range map[string]struct {
		token string
		want  int // 0: let in
	}{
		"none":  {"", http.StatusUnauthorized},
		"wrong": {"gild-" + first.NewToken, http.StatusUnauthorized},
		"right": {first.NewToken, 0},
	} {
		o := &operatorclient.Client{BaseURL: base, Token: tt.token}
		machines, err := o.Machines(t.Context(), "")
		said, refused := errors.AsType[*operatorclient.ProblemError](err)
		switch {
		case tt.want == 0 && (err != nil || len(machines) != 1):
			t.Errorf("%s: Machines = %d, %v; want the one that was seen", name, len(machines), err)
		case tt.want != 0 && (!refused || said.Status != tt.want):
			t.Errorf("%s: Machines = %v; want %d", name, err, tt.want)
		}
	}
}

// As gild serve runs it, loopback asks for the token too: any user of the host
// comes from there. The socket in the data directory asks nobody.
func TestLoopbackAsks(t *testing.T) {
	s := newServer(t, t.TempDir())
	s.open = false
	r := start(t, s)
	for name, tt := range map[string]struct {
		op  operatorclient.Client
		let bool
	}{
		"nobody": {operatorclient.Client{BaseURL: "http://" + r.Operator}, false},
		"token":  {operatorclient.Client{BaseURL: "http://" + r.Operator, Token: r.NewToken}, true},
		"socket": {operatorclient.Client{BaseURL: local.Operator, HTTP: local.Client{Dir: s.State.DataDir}.HTTP()}, true},
	} {
		_, err := tt.op.Machines(t.Context(), "")
		if said, refused := errors.AsType[*operatorclient.ProblemError](err); tt.let != (err == nil) ||
			!tt.let && (!refused || said.Status != http.StatusUnauthorized) {
			t.Errorf("%s: Machines = %v; want let in %v", name, err, tt.let)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Operator+api.PathMachines, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.NewToken)
	req.Host = "evil.example"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a rebound name with the token = %d; want 421", resp.StatusCode)
	}
}
