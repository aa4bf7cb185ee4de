// Package simtest runs OpenIPMI's simulator of a BMC for tests, with a machine
// that is a folder.
package simtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/power"
)

// User is the name of the simulator's only user.
const User = "operator"

// Sim is a running simulator.
type Sim struct {
	Address string // HOST:PORT
	dir     string
}

const lan = `name "gild"
set_working_mc 0x20
startlan 1
  addr %[1]s %[2]s
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "%[3]s"
user 1 true "" "" user 10 none md2 md5 straight
user 2 true "%[4]s" "%[5]s" admin 10 none md2 md5 straight
`

const emu = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
mc_enable 0x20
`

// chassis is the machine: the simulator asks it, and waits for it, at each
// command.
const chassis = `#!/bin/sh
cd '%s' || exit 1
case "$1 $2" in
"get power") echo "power:$(cat power)" ;;
"get boot") echo boot:none ;;
"set power") echo "$3" >power; [ "$3" = 1 ] && echo on >>did || echo off >>did ;;
"set reset") echo reset >>did ;;
"set shutdown") echo shutdown >>did; echo 0 >power ;;
"set boot")
	case $3 in
	pxe) echo boot network >>did ;;
	default) echo boot disk >>did ;;
	cdrom) echo boot cd >>did ;;
	esac ;;
"set identify") echo identify >>did ;;
esac
exit 0
`

// Start begins a simulator, which ends with the test. Its machine is on. The
// test is skipped where there is no simulator.
func Start(t testing.TB, password string) *Sim {
	t.Helper()
	if _, err := exec.LookPath("ipmi_sim"); err != nil {
		t.Skip("ipmi_sim is not installed (apt-get install openipmi)")
	}
	s := &Sim{dir: t.TempDir()}
	host, port := freePort(t)
	s.Address = net.JoinHostPort(host, port)
	program := filepath.Join(s.dir, "chassis")
	for name, text := range map[string]string{
		"lan.conf": fmt.Sprintf(lan, host, port, program, User, password), "bmc.emu": emu, "chassis": fmt.Sprintf(chassis, s.dir), "power": "1\n",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(s.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ipmi_sim", "-n", "-c", filepath.Join(s.dir, "lan.conf"), "-f", filepath.Join(s.dir, "bmc.emu"),
		"-s", state)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	life := child.For(t, cmd)
	s.await(t, life, out)
	return s
}

// freePort is a UDP port of loopback that nobody has.
func freePort(t testing.TB) (host, port string) {
	t.Helper()
	l, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, err = net.SplitHostPort(l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// ping is an RMCP presence ping, which a BMC answers without a session.
var ping = []byte{6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0}

// await waits until the simulator answers.
func (s *Sim) await(t testing.TB, life *child.Process, out fmt.Stringer) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp4", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 64)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		select {
		case <-life.Done():
			t.Fatalf("ipmi_sim has ended: %v\n%s", life.Wait(), out)
		default:
		}
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Write(ping)
		if err == nil {
			_, err = conn.Read(answer)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(10 * time.Millisecond) // nobody listens yet
		}
	}
	t.Fatal("ipmi_sim does not answer")
}

// Set switches the machine, past the simulator.
func (s *Sim) Set(t testing.TB, state power.State) {
	t.Helper()
	text := map[power.State]string{power.On: "1\n", power.Off: "0\n"}[state]
	if err := os.WriteFile(filepath.Join(s.dir, "power"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// State is whether the machine is on.
func (s *Sim) State(t testing.TB) power.State {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "power"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(text)) == "1" {
		return power.On
	}
	return power.Off
}

// Did are the commands that the machine has seen.
func (s *Sim) Did(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "did"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}
