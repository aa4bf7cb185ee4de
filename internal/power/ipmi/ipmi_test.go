package ipmi

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/ipmi/simtest"
	"github.com/gild-dev/gild/internal/power/powertest"
)

// silent is the address of somebody who takes everything and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

func TestConformance(t *testing.T) {
	powertest.Run(t, func(t *testing.T) powertest.Rig {
		sim := simtest.Start(t, powertest.Secret)
		suites := &Suites{}
		d := Driver{Address: sim.Address, User: simtest.User, Password: powertest.Secret, Suites: suites}
		wrong, dead := d, d
		wrong.Password, dead.Address = "CANARY-pw-wrong", silent(t)
		return powertest.Rig{
			Driver: &d, Wrong: &wrong, Dead: &dead,
			Can: []power.Verb{
				power.VerbStatus, power.VerbOn, power.VerbOff, power.VerbCycle, power.VerbReset, power.VerbBootOnce, power.VerbIdentify,
			},
			Boots: []power.Device{power.Network, power.Disk, power.CD},
			Set:   func(s power.State) { sim.Set(t, s) },
			State: func() power.State { return sim.State(t) },
			Did:   func() []string { return sim.Did(t) },
		}
	})
}

// The simulator of OpenIPMI takes suite 3 alone, and that is remembered.
func TestSuiteIsRemembered(t *testing.T) {
	sim := simtest.Start(t, powertest.Secret)
	d := Driver{Address: sim.Address, User: simtest.User, Password: powertest.Secret, Suites: &Suites{}}
	if got := d.Suites.order(sim.Address); !slices.Equal(got, []types.CipherSuiteID{17, 3}) {
		t.Errorf("at first: %v; want 17, then 3", got)
	}
	if s, err := d.Status(t.Context()); err != nil || s != power.On {
		t.Fatalf("Status = %s, %v", s, err)
	}
	if got := d.Suites.order(sim.Address); got[0] != types.CipherSuiteID3 {
		t.Errorf("after a session: %v; want 3 first", got)
	}
	if got := d.Suites.order("another:623"); got[0] != types.CipherSuiteID17 {
		t.Errorf("of another BMC: %v; want 17 first", got)
	}
}

// recorder keeps what the library's own BMC is told.
type recorder struct {
	*mock.Chassis
	mu    sync.Mutex
	flags []types.BootOptionParam_BootFlags
}

func (c *recorder) SetBootFlags(ctx context.Context, f *types.BootOptionParam_BootFlags) error {
	c.mu.Lock()
	c.flags = append(c.flags, *f)
	c.mu.Unlock()
	return c.Chassis.SetBootFlags(ctx, f)
}

// hardware has that chassis.
type hardware struct {
	*mock.HAL
	chassis *recorder
}

func (h hardware) Chassis() hal.ChassisHAL { return h.chassis }

// bmcOf17 runs the library's own BMC, which takes suite 17 alone.
func bmcOf17(t *testing.T) (address string, told func() []types.BootOptionParam_BootFlags) {
	t.Helper()
	c := &recorder{Chassis: &mock.Chassis{}}
	b := bmc.New(bmc.DeviceInfo{DeviceID: 32, IPMIVersion: 0x20}, [16]byte{1}, hardware{mock.New(), c}, bmc.WithClock(clock.Real))
	user, err := b.Users.Add(2, "op")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte(powertest.Secret))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelOperator, Enabled: true}
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.NewServer(b, conn, server.WithCipherSuites([]types.CipherSuiteID{types.CipherSuiteID17}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = s.Close()
		<-done
		conn.Close()
	})
	return conn.LocalAddr().String(), func() []types.BootOptionParam_BootFlags {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Clone(c.flags)
	}
}

// A second BMC, which takes suite 17 alone, and keeps the boot flags whole.
func TestSuite17AndBootFlags(t *testing.T) {
	address, told := bmcOf17(t)
	suites := &Suites{}
	suites.remember(address, types.CipherSuiteID3) // it was another BMC
	d := Driver{Address: address, User: "op", Password: powertest.Secret, Suites: suites}
	for _, legacy := range []bool{false, true} {
		if err := d.BootOnce(t.Context(), power.Boot{Device: power.Network, Legacy: legacy}); err != nil {
			t.Fatal(err)
		}
	}
	if got := suites.order(address); got[0] != types.CipherSuiteID17 {
		t.Errorf("order = %v; want 17 first", got)
	}
	want := []types.BootOptionParam_BootFlags{
		{BootFlagsValid: true, BIOSBootType: types.BIOSBootTypeEFI, BootDeviceSelector: types.BootDeviceSelectorForcePXE},
		{BootFlagsValid: true, BIOSBootType: types.BIOSBootTypeLegacy, BootDeviceSelector: types.BootDeviceSelectorForcePXE},
	}
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("boot flags = %+v; want %+v", got, want)
	}
	d.Password = "wrong"
	if _, err := d.Status(t.Context()); !errors.Is(err, power.Denied) {
		t.Errorf("Status with a wrong password = %v; want Denied", err)
	}
	d.User = "nobody"
	if _, err := d.Status(t.Context()); !errors.Is(err, power.Denied) {
		t.Errorf("Status as nobody = %v; want Denied", err)
	}
}

func TestWhatTheProtocolHasNoRoomFor(t *testing.T) {
	for what, d := range map[string]Driver{
		"no address":    {},
		"bad port":      {Address: "host:0"},
		"long user":     {Address: "127.0.0.1", User: strings.Repeat("u", 17)},
		"long password": {Address: "127.0.0.1", Password: powertest.Secret + "-and-more"},
	} {
		_, err := d.Status(t.Context())
		if !errors.Is(err, power.Failed) || strings.Contains(err.Error(), powertest.Secret) {
			t.Errorf("%s: Status = %v; want a refusal without the password", what, err)
		}
	}
	for address, want := range map[string]string{
		"bmc": "bmc:623", "10.0.0.1:6230": "10.0.0.1:6230", "[fe80::1]": "fe80::1:623",
		"fd00::7": "fd00::7:623",
	} {
		d := Driver{Address: address}
		host, port, err := d.target()
		if got := host + ":" + map[int]string{623: "623", 6230: "6230"}[port]; err != nil || got != want {
			t.Errorf("target of %s = %s, %v; want %s", address, got, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.1": "127.0.0.1", "fd00::7": "[fd00::7]"} {
		if got, err := resolve(t.Context(), host); err != nil || got != want {
			t.Errorf("resolve(%s) = %s, %v; want %s", host, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := resolve(ctx, "bmc.invalid"); err == nil {
		t.Errorf("resolve with a context that is over = %s; want an error", got)
	}
}
