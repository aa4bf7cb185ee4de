package room

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/door/firmware"
)

// machine is one computer of the room, as it is told to its process.
type machine struct {
	Name, MAC, UUID, Serial string
	Servers                 []string // base URLs; the firmware asks them in turn
	Disk                    string   // file
	Log                     string   // of what its agent said, one line of JSON each
	Idle                    bool     // it is not armed: see idle
	Addr                    string   // its own, where it has a cable
}

func newMachine(i int, dir string, servers ...string) machine {
	first := i % len(servers)
	servers = append(slices.Clone(servers[first:]), servers[:first]...)
	name := fmt.Sprintf("m%04d", i)
	return machine{
		Name: name, MAC: fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&0xff, i>>8&0xff, i&0xff),
		UUID: fmt.Sprintf("0a1f6c52-7d07-4c0e-9d9a-%012x", i+1), Serial: fmt.Sprintf("ROOM-%d", i), Servers: servers,
		Disk: dir + "/" + name + ".raw", Log: dir + "/" + name + ".log",
	}
}

// inventory is what an agent finds in the machine, without its disk.
func (m machine) inventory() api.Inventory {
	return api.Inventory{
		MAC: m.MAC, UUID: m.UUID, Serial: m.Serial, Vendor: "Room", Product: "Process", Firmware: "uefi",
		Kernel: "6.1.0", Arch: "amd64", CPUs: 1, Memory: 1 << 30, NICs: []api.NIC{{Name: "eth0", MAC: m.MAC, Carrier: true}},
	}
}

// drive is what its disk claims to be.
func (m machine) drive() api.Disk {
	return api.Disk{Name: "sda", Serial: "D" + m.Serial, Model: "FILE", Transport: "sata"}
}

// said is one line of a machine's log.
type said struct {
	Kind   string      `json:"kind"` // "report", "end", "after", "running", "idle"
	Took   float64     `json:"took,omitempty"`
	Err    string      `json:"err,omitempty"`
	Report *api.Report `json:"report,omitempty"`
}

// powerOn starts the machine's process. A machine of a real room has its own
// processor and memory: here hundreds share those of the server, so they get
// what it leaves.
func (m machine) powerOn(ctx context.Context, t *testing.T, wire *segment) *exec.Cmd {
	t.Helper()
	role, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", self)
	cmd.Env = append(os.Environ(), envMachine+"="+string(role), "GOMAXPROCS=1", "GOMEMLIMIT=48MiB", "GOGC=50")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	wire.start(t, cmd, m.Addr)
	return cmd
}

// play is the process of one machine: firmware that asks what to boot until it
// is an agent, the agent, and once more the firmware.
func play(role string) int {
	var m machine
	if err := json.Unmarshal([]byte(role), &m); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	file, err := os.OpenFile(m.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	screen, err := os.Create(m.Log + ".console")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var mu sync.Mutex
	lines := json.NewEncoder(file)
	tell := func(s said) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(s) // what is missing there the judge misses
	}
	ctx := context.Background()
	if m.Idle {
		m.idle(ctx, screen, tell)
		return 0
	}
	beacon := ""
	line, err := m.firmware(ctx, screen, true)
	ca := ""
	if err == nil {
		ca, err = m.initramfs(ctx)
	}
	if err == nil {
		err = agent.Rehearse(ctx, agent.Rehearsal{
			Servers: line["gild.server"], Ticket: line["gild.ticket"], CA: []byte(ca),
			Inventory: m.inventory(), Disk: m.Disk, Drive: m.drive(),
			Console: screen,
			Became:  func(id api.Identity) { beacon = id.BeaconURL },
			Reported: func(r api.Report, took time.Duration, err error) {
				tell(said{Kind: "report", Took: took.Seconds(), Err: text(err), Report: &r})
			},
		})
	}
	tell(said{Kind: "end", Err: text(err)})
	if err != nil {
		return 1
	}
	// The machine restarts, and must not be flashed again.
	_, err = m.firmware(ctx, screen, false)
	tell(said{Kind: "after", Err: text(err)})
	if beacon != "" {
		tell(said{Kind: "running", Err: text(call(ctx, beacon, ca))})
	}
	return 0
}

// idle is a machine that nobody armed, in which somebody has started an agent
// by other means: again and again it asks, and is to be sent to its disk.
func (m machine) idle(ctx context.Context, screen io.Writer, tell func(said)) {
	for {
		_, err := m.firmware(ctx, screen, false)
		ca := ""
		if err == nil {
			ca, err = m.initramfs(ctx)
		}
		if err == nil {
			err = agent.Rehearse(ctx, agent.Rehearsal{
				Servers: strings.Join(m.Servers, ","), CA: []byte(ca), Inventory: m.inventory(), Disk: m.Disk, Drive: m.drive(), Console: screen,
			})
			if err == nil {
				err = errFlashed
			}
		}
		tell(said{Kind: "idle", Err: text(err)})
		time.Sleep(time.Second)
	}
}

// call is what the unit of a new system does: it says that it runs, again and
// again until somebody takes it. One whose server is gone for good is not
// heard.
func call(ctx context.Context, beacon, ca string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	defer caller.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, beacon, nil)
		if err != nil {
			return err
		}
		resp, err := caller.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusNoContent {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

var (
	errArmed   = errors.New("the server gives it an agent although it is not armed, or was flashed")
	errFlashed = errors.New("it was flashed although nobody armed it")
)

// firmware asks for the machine's script as iPXE does, again and again while
// nobody answers. With patience it continues until the script boots the agent
// and returns the words that its kernel is told; without, one answer is enough,
// and it must be the local disk.
func (m machine) firmware(ctx context.Context, screen io.Writer, patience bool) (line map[string]string, err error) {
	q := url.Values{
		"mac": {m.MAC}, "uuid": {m.UUID}, "serial": {m.Serial}, "manufacturer": {"Room"}, "product": {"Process"},
		"arch": {"x86_64"}, "platform": {"efi"},
	}.Encode()
	for i := 0; ; i++ {
		script, err := get(ctx, m.Servers[i%len(m.Servers)]+"/machine.ipxe?"+q)
		_, _ = io.WriteString(screen, script) // not run: it says why
		line = map[string]string{}
		for word := range strings.FieldsSeq(script) {
			if key, value, ok := strings.Cut(word, "="); ok {
				line[key] = value
			}
		}
		_, armed := line["gild.server"]
		switch {
		case err != nil:
		case armed && !patience:
			return nil, errArmed
		case armed || !patience:
			return line, nil
		}
		time.Sleep(2 * time.Second)
	}
}

// initramfs fetches the only part of it that a played machine needs: whom to
// trust. Any server of the room has it.
func (m machine) initramfs(ctx context.Context) (ca string, err error) {
	for i := range 60 * len(m.Servers) {
		if ca, err = get(ctx, m.Servers[i%len(m.Servers)]+firmware.PathCA); err == nil {
			return ca, nil
		}
		time.Sleep(time.Second)
	}
	return "", err
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(p), err
}

// log reads what the machine said.
func (m machine) log(t *testing.T) []said {
	t.Helper()
	f, err := os.Open(m.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []said
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var s said
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", m.Log, err)
		}
		all = append(all, s)
	}
	return all
}
