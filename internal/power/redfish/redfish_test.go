package redfish

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/powertest"
	"github.com/gild-dev/gild/internal/power/redfish/redfishtest"
)

// visit starts a BMC with some habits, and gives a driver for it.
func visit(t *testing.T, h redfishtest.Habits) (*redfishtest.BMC, *Driver) {
	t.Helper()
	b := redfishtest.New(powertest.Secret, h)
	s := b.Start(t)
	return b, &Driver{Address: s.Listener.Addr().String(), User: redfishtest.User, Password: powertest.Secret}
}

var verbs = []power.Verb{
	power.VerbStatus, power.VerbOn, power.VerbOff, power.VerbCycle, power.VerbReset, power.VerbBootOnce, power.VerbIdentify,
}

func without(list []power.Verb, v power.Verb) []power.Verb {
	return slices.DeleteFunc(slices.Clone(list), func(x power.Verb) bool { return x == v })
}

// Every vendor's habits, as far as they are known, keep one contract.
func TestConformance(t *testing.T) {
	few := []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart"}
	for name, tt := range map[string]struct {
		habits redfishtest.Habits
		can    []power.Verb
	}{
		"plain": {redfishtest.Habits{}, verbs},
		"iLO": {
			redfishtest.Habits{Vendor: "HPE", NoMode: true, Resets: few, RefusesSame: true, IndicatorLED: true, NoHTTP: true},
			without(verbs, power.VerbCycle),
		},
		"iDRAC":      {redfishtest.Habits{Vendor: "Dell", Elsewhere: true, SettingsOnly: true, NoHTTP: true}, verbs},
		"Supermicro": {redfishtest.Habits{Manufacturer: "Supermicro", FullBoot: true, ActionInfo: true}, verbs},
		"AMI": {redfishtest.Habits{
			Vendor: "AMI", NeedsETag: true, StrongOnly: true, FullBoot: true, NotSettings: true, Resets: few,
			ActionInfo: true,
		}, without(verbs, power.VerbCycle)},
		"GB200": {
			redfishtest.Habits{Vendor: "NVIDIA", Baseboard: true, NoSessions: true, Redirects: true, NoLamp: true},
			without(verbs, power.VerbIdentify),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			powertest.Run(t, func(t *testing.T) powertest.Rig {
				b, d := visit(t, tt.habits)
				t.Cleanup(func() {
					if open, made := b.Sessions(); open > 0 {
						t.Errorf("%d of %d sessions are still open", open, made)
					}
				})
				wrong, dead := *d, *d
				wrong.Password, dead.Address = powertest.Secret+"-wrong", silent(t)
				return powertest.Rig{Driver: d, Wrong: &wrong, Dead: &dead, Can: tt.can, Set: b.Set, State: b.State, Did: b.Did}
			})
		})
	}
}

// silent is the address of somebody who takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestBootOverride(t *testing.T) {
	for name, tt := range map[string]struct {
		habits redfishtest.Habits
		boot   power.Boot
		want   map[string]any
	}{
		"network": {
			redfishtest.Habits{},
			power.Boot{Device: power.Network},
			map[string]any{targetKey: "Pxe", enabledKey: "Once", modeKey: "UEFI"},
		},
		"legacy": {
			redfishtest.Habits{},
			power.Boot{Device: power.Network, Legacy: true},
			map[string]any{targetKey: "Pxe", enabledKey: "Once", modeKey: "Legacy"},
		},
		"URL": {redfishtest.Habits{}, power.Boot{Device: power.HTTP, URL: "http://h/x.efi"}, map[string]any{
			targetKey: "UefiHttp", enabledKey: "Once", modeKey: "UEFI", uriKey: "http://h/x.efi",
		}},
		"virtual disc by the full name": {
			redfishtest.Habits{Manufacturer: "Super Micro Computer, Inc."},
			power.Boot{Device: power.CD},
			map[string]any{
				targetKey: "UsbCd", enabledKey: "Once", modeKey: "UEFI",
			},
		},
		"disc": {redfishtest.Habits{}, power.Boot{Device: power.CD}, map[string]any{targetKey: "Cd", enabledKey: "Once", modeKey: "UEFI"}},
		"virtual disc": {redfishtest.Habits{Manufacturer: "Supermicro"}, power.Boot{Device: power.CD}, map[string]any{
			targetKey: "UsbCd", enabledKey: "Once", modeKey: "UEFI",
		}},
		"refused and taken": {
			redfishtest.Habits{LyingBoot: true},
			power.Boot{Device: power.Network},
			map[string]any{targetKey: "Pxe", enabledKey: "Once", modeKey: "UEFI"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, d := visit(t, tt.habits)
			if err := d.BootOnce(t.Context(), tt.boot); err != nil {
				t.Fatal(err)
			}
			got := b.Boot()
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("Boot = %v; want %v", got, tt.want)
			}
		})
	}
	_, d := visit(t, redfishtest.Habits{NoHTTP: true})
	err := d.BootOnce(t.Context(), power.Boot{Device: power.HTTP, URL: "http://h/x.efi"})
	if !errors.Is(err, power.Unsupported) {
		t.Errorf("a URL that cannot be written: %v; want Unsupported", err)
	}
}

func TestWhichSystem(t *testing.T) {
	for name, tt := range map[string]struct {
		of   Driver
		fail bool
	}{
		"the only host": {Driver{}, false}, "by ID": {Driver{System: "1"}, false},
		"by UUID":   {Driver{UUID: strings.ToUpper(redfishtest.UUID)}, false},
		"by serial": {Driver{Serial: redfishtest.Serial}, false}, "by an ID that is not there": {Driver{System: "7"}, true},
	} {
		b, d := visit(t, redfishtest.Habits{Baseboard: true})
		b.Set(power.Off)
		d.System, d.UUID, d.Serial = tt.of.System, tt.of.UUID, tt.of.Serial
		s, err := d.Status(t.Context())
		if (err != nil) != tt.fail || !tt.fail && s != power.Off {
			t.Errorf("%s: Status = %s, %v; want an error: %v", name, s, err, tt.fail)
		}
	}
}

func TestBusyAfterOff(t *testing.T) {
	b, d := visit(t, redfishtest.Habits{Busy: 1})
	b.Set(power.Off)
	if err := d.On(t.Context()); !errors.Is(err, power.Busy) {
		t.Errorf("On of one that is not ready = %v; want Busy", err)
	}
}

// A BMC that makes a task of a reset is waited for.
func TestTask(t *testing.T) {
	t.Parallel()
	b, d := visit(t, redfishtest.Habits{Task: true})
	if err := d.Reset(t.Context()); err != nil || !slices.Equal(b.Did(), []string{"reset"}) || b.Tasks() > 0 {
		t.Errorf("Reset = %v, the machine saw %q, and %d looks at the task are left", err, b.Did(), b.Tasks())
	}
}

func TestPasswordMustChange(t *testing.T) {
	_, d := visit(t, redfishtest.Habits{MustChange: true})
	err := d.On(t.Context())
	e, ok := errors.AsType[*power.Error](err)
	if !ok || e.Kind != power.Denied || !strings.Contains(e.Hint(), "password") {
		t.Errorf("On = %v; want Denied, and what to do", err)
	}
}

func TestTrust(t *testing.T) {
	b := redfishtest.New(powertest.Secret, redfishtest.Habits{})
	s := b.Start(t)
	pin := PinOf(s.Certificate())
	ours := x509.NewCertPool()
	ours.AddCert(s.Certificate())
	var seen string
	refused := errors.New("refused")
	for name, tt := range map[string]struct {
		trust Trust
		want  power.Kind
	}{
		"first sight": {Trust{First: func(pin string) error { seen = pin; return nil }}, ""},
		"refused at first sight": {Trust{First: func(string) error {
			return &power.Error{Kind: power.Untrusted, Op: "x", Err: refused}
		}}, power.Untrusted},
		"pinned":       {Trust{Pin: pin}, ""},
		"another one":  {Trust{Pin: "sha256:" + strings.Repeat("0", 64)}, power.Untrusted},
		"own CA":       {Trust{CA: ours}, ""},
		"another's CA": {Trust{CA: x509.NewCertPool()}, power.Untrusted},
	} {
		d := Driver{Address: s.URL, User: redfishtest.User, Password: powertest.Secret, Trust: tt.trust}
		before := len(b.Did())
		err := d.Reset(t.Context())
		if (err == nil) != (tt.want == "") || err != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Reset = %v; want %q", name, err, tt.want)
		}
		if tt.want != "" && len(b.Did()) != before {
			t.Errorf("%s: the machine was reset", name)
		}
		if tt.want != "" {
			if h, ok := errors.AsType[*power.Error](err); !ok || name != "refused at first sight" && h.Hint() == "" {
				t.Errorf("%s: %v has no hint", name, err)
			}
		}
	}
	if seen != pin || !IsPin(pin) || IsPin("sha256:x") || IsPin(strings.ToUpper(pin)) {
		t.Errorf("pin at first sight %q; want %q", seen, pin)
	}
}

// A BMC that sends elsewhere, or answers with what is no Redfish, gets nothing.
func TestForeignAnswers(t *testing.T) {
	stolen := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.URL.Path }))
	t.Cleanup(thief.Close)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"sends elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", thief.URL)
			w.WriteHeader(http.StatusPermanentRedirect)
		},
		"in circles": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusPermanentRedirect)
		},
		"sessions elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"Links":{"Sessions":{"@odata.id":"%s/x"}}}`, thief.URL)
		},
		"no JSON":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>\x1b[2J") },
		"other types": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Links":7,"Systems":[1]}`) },
		"no end": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"a":"`+strings.Repeat("x", maxAnswer+1)+`"}`)
		},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(answer))
		d := Driver{Address: s.URL, User: "u", Password: powertest.Secret}
		_, err := d.Status(t.Context())
		if err == nil || strings.Contains(err.Error(), powertest.Secret) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: Status = %v; want an error that may be shown", name, err)
		}
		s.Close()
	}
	select {
	case path := <-stolen:
		t.Errorf("somebody else was asked for %s", path)
	default:
	}
	for _, address := range []string{"", "ftp://h", "https://u:p@h", "https://h/x", "h:port:more"} {
		d := Driver{Address: address}
		if _, err := d.Status(t.Context()); !errors.Is(err, power.Failed) {
			t.Errorf("address %q: %v; want it refused", address, err)
		}
	}
}

// sushy is another client: what it finds at the emulated BMC is what there is.
const sushyScript = `
import sys, sushy
s = sushy.Sushy(sys.argv[1], username=sys.argv[2], password=sys.argv[3], verify=False)
m = s.get_system()
m.reset_system(sushy.RESET_TYPE_FORCE_OFF)
m.refresh(force=True)
print("state", m.power_state)
mode = sushy.BOOT_SOURCE_MODE_UEFI if sys.argv[4] == "full" else None
m.set_system_boot_options(target=sushy.BOOT_SOURCE_TARGET_PXE, enabled=sushy.BOOT_SOURCE_ENABLED_ONCE, mode=mode)
m.reset_system(sushy.RESET_TYPE_ON)
m.refresh(force=True)
print("state", m.power_state)
print("boot", m.boot.target, m.boot.enabled)
print("resets", sorted(v.value for v in m.get_allowed_reset_system_values()))
`

func TestEmulatorByAnotherClient(t *testing.T) {
	const python = "/usr/bin/python3" // of the distribution, as sushy is
	if exec.CommandContext(t.Context(), python, "-c", "import sushy").Run() != nil {
		t.Skip("sushy is not installed (apt-get install python3-sushy)")
	}
	for name, h := range map[string]redfishtest.Habits{
		"plain": {}, "ETags, settings": {NeedsETag: true, SettingsOnly: true}, "full": {FullBoot: true, Manufacturer: "Supermicro"},
	} {
		b := redfishtest.New(powertest.Secret, h)
		s := b.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, python, "-W", "ignore", "-c", sushyScript, s.URL, redfishtest.User, powertest.Secret, name)
		cmd.Env = []string{"PATH=/usr/bin"} // a CA of the environment's goes before verify=False
		out, err := cmd.CombinedOutput()
		if want := []string{"off", "boot network", "on"}; err != nil || !slices.Equal(b.Did(), want) {
			t.Errorf("%s: sushy = %v, and the machine saw %q; want %q\n%s", name, err, b.Did(), want, out)
		}
		for _, line := range []string{
			"state PowerState.OFF", "state PowerState.ON", "boot BootSource.PXE BootSourceOverrideEnabled.ONCE",
			"'PowerCycle'",
		} {
			if !strings.Contains(string(out), line) {
				t.Errorf("%s: sushy finds\n%s\nwant %s", name, out, line)
			}
		}
	}
}
