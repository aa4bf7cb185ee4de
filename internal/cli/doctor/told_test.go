package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// pair writes a certificate that is valid for a time, and its key.
func pair(t *testing.T, from, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestCertificate(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	for _, tt := range []struct {
		from, until time.Time
		want        string
	}{
		{now.Add(-day), now.Add(90 * day), "ok: of the operator API, until "},
		{now.Add(-day), now.Add(10 * day), "warning: the certificate of the operator API expires on "},
		{now.Add(-2 * day), now.Add(-day), "problem: the certificate of the operator API has expired on "},
		{now.Add(day), now.Add(90 * day), "problem: the certificate of the operator API is not valid before "},
	} {
		p := healthy(t)
		p.Cert, p.Key = pair(t, tt.from, tt.until)
		if got := levels(certificate(t.Context(), p)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s; want %s", got, tt.want)
		}
		_, p.Key = pair(t, tt.from, tt.until)
		if got := levels(certificate(t.Context(), p)); !strings.HasPrefix(got, "problem: the operator API has no certificate") {
			t.Errorf("with another's key: %s", got)
		}
		p.Key = ""
		if got := levels(certificate(t.Context(), p)); !strings.HasPrefix(got, "problem: --operator-cert and --operator-key") {
			t.Errorf("without a key: %s", got)
		}
	}
	if got := certificate(t.Context(), healthy(t)); got != nil {
		t.Errorf("plain HTTP: %v; want nothing", got)
	}
}

func TestDiscovery(t *testing.T) {
	for name, want := range map[string]string{
		"":       "",
		"debian": "ok: unknown machines boot the agent with the kernel of debian; ",
		"nope":   "problem: unknown machines boot their disks: --discover names image \"nope\", which is not stored; ",
	} {
		p := healthy(t)
		p.Discover = name
		if got := levels(discovery(t.Context(), p)); got != want {
			t.Errorf("%q: %s; want %s", name, got, want)
		}
	}
	p := healthy(t)
	p.Discover, p.Bootable = "debian", func(string) error { return errors.New("it has no kernel") }
	if got := levels(discovery(t.Context(), p)); !strings.Contains(got, "cannot be booted: it has no kernel") {
		t.Errorf("without a kernel: %s", got)
	}
}

// A machine that was refused a file is named with the file, and with nothing
// else; one that got further is not.
func TestRefusedByTFTP(t *testing.T) {
	now := time.Now()
	discover := api.Event{Step: fleet.StepDiscover, Message: "DHCP answered: pxelinux.0"}
	refused := api.Event{Step: fleet.StepTFTP, Message: `TFTP refused "pxelinux.0": no such file`}
	for what, tt := range map[string]struct {
		since  time.Duration // of the last word of its firmware
		events []api.Event
		want   bool
	}{
		"the last word":          {time.Hour, []api.Event{discover, refused}, true},
		"asking anew":            {time.Second, []api.Event{discover, refused, discover}, true},
		"got its script since":   {time.Second, []api.Event{refused, {Step: fleet.StepBoot}, discover}, false},
		"nothing refused":        {time.Second, []api.Event{discover}, false},
		"long ago, off or fixed": {25 * time.Hour, []api.Event{discover, refused}, false},
	} {
		p := healthy(t)
		p.Machines = func(context.Context) ([]api.Machine, error) {
			return []api.Machine{{
				ID: "m1", Spec: api.Spec{Name: "web-1"}, State: api.MachineRegistered,
				FirmwareSeen: now.Add(-tt.since), LastSeen: now.Add(-tt.since),
			}}, nil
		}
		p.Events = func(_ context.Context, id string) ([]api.Event, error) {
			if id != "m1" {
				t.Errorf("the past of %s was asked for", id)
			}
			return tt.events, nil
		}
		got := levels(machines(t.Context(), p))
		if want := `warning: web-1 (TFTP refused "pxelinux.0": no such file): has asked this server by TFTP`; strings.HasPrefix(got, want) != tt.want {
			t.Errorf("%s: %s; want it named: %v", what, got, tt.want)
		}
	}
}

// What machines show before their agent runs names the machines, and nothing
// else does.
func TestMachines(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	armed := &api.Armed{Since: ago(time.Hour)}
	for _, tt := range []struct {
		what string
		m    api.Machine
		want string // of the finding; empty: fine
	}{
		{"off since it was armed", api.Machine{State: api.MachineArmed, Armed: armed, LastSeen: ago(2 * time.Hour)}, "nothing has been heard"},
		{"never seen", api.Machine{State: api.MachineArmed, Armed: armed}, "nothing has been heard"},
		{"armed just now", api.Machine{State: api.MachineArmed, Armed: &api.Armed{Since: ago(time.Minute)}}, ""},
		{"its ROM went away", api.Machine{
			State: api.MachineArmed, Armed: armed, LastSeen: ago(time.Minute * 10),
			FirmwareSeen: ago(10 * time.Minute),
		}, "no boot script"},
		{"its ROM asks now", api.Machine{State: api.MachineArmed, Armed: armed, LastSeen: ago(time.Second), FirmwareSeen: ago(time.Second)}, ""},
		{
			"its kernel hangs",
			api.Machine{State: api.MachineBooting, Armed: armed, Since: ago(10 * time.Minute), LastSeen: ago(10 * time.Minute)},
			"agent has not spoken",
		},
		{"its kernel starts", api.Machine{State: api.MachineBooting, Armed: armed, Since: ago(time.Minute), LastSeen: ago(time.Minute)}, ""},
		{"its agent spoke", api.Machine{
			State: api.MachineBooting, Armed: armed, Since: ago(10 * time.Minute), AgentSeen: ago(9 * time.Minute),
			LastSeen: ago(9 * time.Minute),
		}, ""},
		{"not armed", api.Machine{State: api.MachineRegistered, LastSeen: ago(time.Hour)}, ""},
	} {
		tt.m.Spec.Name = "web-1"
		p := healthy(t)
		p.Machines = func(context.Context) ([]api.Machine, error) { return []api.Machine{tt.m}, nil }
		got := levels(machines(t.Context(), p))
		if tt.want == "" && !strings.HasPrefix(got, "ok: ") || !strings.Contains(got, tt.want) ||
			tt.want != "" && !strings.HasPrefix(got, "warning: web-1: ") {
			t.Errorf("%s: %s; want %q", tt.what, got, tt.want)
		}
	}
	p := healthy(t)
	p.Machines = func(context.Context) (out []api.Machine, err error) {
		for range maxNamed + 3 {
			out = append(out, api.Machine{ID: "m", State: api.MachineArmed, Armed: armed})
		}
		return out, nil
	}
	if diff := cmp.Diff("warning: m, m, m, m, m and 3 more: nothing has been heard since it was armed; ",
		levels(machines(t.Context(), p))); diff != "" {
		t.Error(diff)
	}
	p.Machines = func(context.Context) ([]api.Machine, error) { return nil, errors.New("nobody") }
	if got := machines(t.Context(), p); got != nil {
		t.Errorf("without a server: %v; want nothing", got)
	}
}
