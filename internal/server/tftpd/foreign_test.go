package tftpd

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// startUDP serves a directory's files on loopback until the test ends, and
// checks that nothing of the server is left then.
func startUDP(t *testing.T, paths map[string]string) (port string, events func() []Event) {
	t.Helper()
	before := runtime.NumGoroutine()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []Event
	s := &Server{Open: Table(paths), Events: func(e Event) { mu.Lock(); got = append(got, e); mu.Unlock() }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v; want nil", err)
		}
		for range 100 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d goroutines after Serve; %d before", runtime.NumGoroutine(), before)
	})
	_, port, _ = net.SplitHostPort(conn.LocalAddr().String())
	return port, func() []Event { mu.Lock(); defer mu.Unlock(); return append([]Event(nil), got...) }
}

// Debian's clients as judges: each gets each size right, and a missing file is
// an error.
func TestForeignClients(t *testing.T) {
	clients := map[string]func(port, name, out string) *exec.Cmd{
		"tftp": func(port, name, out string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", name, out)
		},
		"atftp": func(port, name, out string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "atftp", "--get", "-r", name, "-l", out, "127.0.0.1", port)
		},
		"atftp options": func(port, name, out string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "atftp", "--option", "blksize 1428", "--option", "tsize 0", "--option", "timeout 2",
				"--option", "windowsize 8", "--get", "-r", name, "-l", out, "127.0.0.1", port)
		},
		"atftp large block": func(port, name, out string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "atftp", "--option", "blksize 65464", "--get", "-r", name, "-l", out, "127.0.0.1", port)
		},
		"curl": func(port, name, out string) *exec.Cmd {
			return exec.CommandContext(t.Context(), "curl", "-sS", "--fail", "--tftp-blksize", "1024", "-o", out, "tftp://127.0.0.1:"+port+"/"+name)
		},
	}
	dir := t.TempDir()
	paths, contents := map[string]string{}, map[string][]byte{}
	for name, size := range map[string]int{"empty": 0, "one": 1, "block": 512, "blocks.efi": 1428 * 8, "big.kpxe": 3<<20 + 7} {
		contents[name] = make([]byte, size)
		for i := range contents[name] {
			contents[name][i] = patternByte(int64(i))
		}
		paths[name] = filepath.Join(dir, name)
		if err := os.WriteFile(paths[name], contents[name], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for client, command := range clients {
		t.Run(client, func(t *testing.T) {
			if _, err := exec.LookPath(strings.Fields(client)[0]); err != nil {
				t.Skip(err)
			}
			port, events := startUDP(t, paths)
			out := filepath.Join(t.TempDir(), "out")
			for name, want := range contents {
				if client == "curl" && name == "empty" {
					continue // curl connects its socket at the second packet only and fails without one
				}
				_ = os.Remove(out)
				text, err := command(port, name, out).CombinedOutput()
				got, readErr := os.ReadFile(out)
				if err != nil || readErr != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v, %v; want %d\n%s", name, len(got), err, readErr, len(want), text)
				}
			}
			_ = os.Remove(out)
			text, _ := command(port, "absent", out).CombinedOutput()
			if got, err := os.ReadFile(out); err == nil && len(got) > 0 {
				t.Errorf("absent file gave %d bytes\n%s", len(got), text)
			}
			// The last event may come after its client has gone.
			var sent, refused int
			for range 100 {
				sent, refused = 0, 0
				for _, e := range events() {
					switch e.Outcome {
					case Sent:
						sent++
					case Refused:
						refused++
					}
				}
				if refused > 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if refused < 1 || sent < len(contents)-1 {
				t.Errorf("events %+v; want every file sent and one refusal", events())
			}
		})
	}
}

func TestPutIsRefused(t *testing.T) {
	if _, err := exec.LookPath("atftp"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	local := filepath.Join(dir, "local")
	if err := os.WriteFile(local, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	port, events := startUDP(t, map[string]string{"f": filepath.Join(dir, "f")})
	text, _ := exec.CommandContext(t.Context(), "atftp", "--put", "-l", local, "-r", "f", "127.0.0.1", port).CombinedOutput()
	if _, err := os.Stat(filepath.Join(dir, "f")); err == nil {
		t.Error("a client wrote a file")
	}
	for i := 0; len(events()) == 0 && i < 100; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if ev := events(); len(ev) == 0 || ev[0].Outcome != Refused {
		t.Errorf("events %+v, client said %q; want a refusal", ev, text)
	}
}

func TestListenNamesTheRemedy(t *testing.T) {
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = Listen(t.Context(), conn.LocalAddr().String())
	if err == nil || !strings.Contains(err.Error(), "stop the other TFTP server") {
		t.Errorf("Listen on a taken port = %v; want the remedy", err)
	}
}

func TestTableRefusesOddFiles(t *testing.T) {
	dir := t.TempDir()
	open := Table(map[string]string{"dir": dir, "gone": filepath.Join(dir, "gone")})
	for _, name := range []string{"dir", "gone", "other"} {
		if _, _, err := open(name); err == nil {
			t.Errorf("open(%q) = nil error", name)
		}
	}
}
