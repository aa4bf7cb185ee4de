package login_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// laptop is a user's surroundings: no data directory, a home.
type laptop struct {
	t    *testing.T
	home string
	env  map[string]string
}

func newLaptop(t *testing.T) laptop {
	t.Helper()
	home := t.TempDir()
	return laptop{t, home, map[string]string{"HOME": home}}
}

// run gives standard input, and what was printed.
func (l laptop) run(want int, stdin string, args ...string) string {
	l.t.Helper()
	var out, problem bytes.Buffer
	code := cli.Main(l.t.Context(), args, app.Surroundings{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &problem, Getenv: func(k string) string { return l.env[k] },
	})
	if code != want {
		l.t.Fatalf("gild %s: code %d; want %d\n%s%s", strings.Join(args, " "), code, want, &out, &problem)
	}
	return out.String() + problem.String()
}

// secure puts TLS before a server, with a certificate that nobody knows.
func secure(t *testing.T, f *clitest.Fake) (url, fingerprint string) {
	t.Helper()
	s := httptest.NewTLSServer(f.Config.Handler)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	sum := sha256.Sum256(s.Certificate().Raw)
	return s.URL, hex.EncodeToString(sum[:])
}

func TestLogin(t *testing.T) {
	f := clitest.NewFake(t, api.Machine{ID: "52:54:00:00:00:01", MAC: "52:54:00:00:00:01", State: api.MachineRegistered})
	f.Token = "right-token"
	url, fingerprint := secure(t, f)
	l := newLaptop(t)
	file := filepath.Join(l.home, ".config", "gild", "logins.json")

	if said := l.run(exit.CodeDenied, f.Token, "login", url); !strings.Contains(strings.ToLower(strings.ReplaceAll(said, ":", "")),
		fingerprint) {
		t.Errorf("a certificate that nobody knows: %s; want its fingerprint", said)
	}
	l.run(exit.CodeDenied, f.Token, "login", url, "--fingerprint", strings.Repeat("0", 64))
	l.run(exit.CodeDenied, "wrong-token", "login", url, "--fingerprint", fingerprint)
	l.run(exit.CodeInput, "", "login", url, "--fingerprint", fingerprint)
	l.run(exit.CodeUsage, f.Token, "login", "gild.example")
	l.run(exit.CodeUsage, "", "login", "http://gild.example:8081") // in the clear: before the token is asked for
	l.run(exit.CodeUsage, f.Token, "login", f.URL, "--fingerprint", fingerprint)
	l.run(exit.CodeNoServer, f.Token, "login", "https://127.0.0.1:1")
	if _, err := os.Stat(file); err == nil {
		t.Error("a login that failed is kept")
	}

	l.run(exit.CodeOK, f.Token+"\n", "login", url, "--name", "rack1", "--fingerprint", "sha256 Fingerprint="+strings.ToUpper(fingerprint))
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file of logins: %v, %v; want it for the user alone", info, err)
	}
	if said := l.run(exit.CodeOK, "", "context", "use", "rack1", "--json"); !strings.Contains(said, `"current": true`) {
		t.Errorf("context use: %s", said)
	}
	if said := l.run(exit.CodeOK, "", "machine", "ls", "-q"); said != "52:54:00:00:00:01\n" {
		t.Errorf("machine ls: %q", said)
	}
	if said := l.run(exit.CodeOK, "", "context", "ls"); !strings.Contains(said, "rack1") || !strings.Contains(said, url) ||
		strings.Contains(said, f.Token) {
		t.Errorf("context ls: %s; want name and URL, and no token", said)
	}
	// What is named goes before the login: another server, another token, a
	// data directory.
	l.run(exit.CodeNoServer, "", "--server", "http://127.0.0.1:1", "machine", "ls")
	l.run(exit.CodeOK, "", "--server", url, "machine", "ls")
	l.env["GILD_TOKEN"] = "wrong-token"
	l.run(exit.CodeDenied, "", "machine", "ls")
	delete(l.env, "GILD_TOKEN")
	l.env["GILD_DATA"] = t.TempDir()
	if said := l.run(exit.CodeOK, "", "image", "ls", "-q"); said != "" {
		t.Errorf("image ls of a data directory: %q", said)
	}
	delete(l.env, "GILD_DATA")

	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if said := l.run(exit.CodeInput, "", "machine", "ls"); !strings.Contains(said, "chmod 600") {
		t.Errorf("with a file that others can read: %s", said)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	l.run(exit.CodeNotFound, "", "logout", "nobody")
	l.run(exit.CodeOK, "", "logout")
	if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte(f.Token)) {
		t.Errorf("after logout: %s, %v", text, err)
	}
	if said := l.run(exit.CodeOK, "", "context", "ls", "-q"); said != "" {
		t.Errorf("context ls after logout: %q", said)
	}
}

func TestSeveralLogins(t *testing.T) {
	l := newLaptop(t)
	l.env["XDG_CONFIG_HOME"] = filepath.Join(l.home, "xdg")
	var urls []string
	for _, name := range []string{"a", "b"} {
		f := clitest.NewFake(t, api.Machine{ID: name, State: api.MachineRegistered})
		f.Token = "token-of-" + name
		l.run(exit.CodeOK, f.Token, "login", f.URL, "--name", name)
		urls = append(urls, f.URL)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"b\n", []string{"machine", "ls", "-q"}},
		{"a\n", []string{"--server", urls[0], "machine", "ls", "-q"}},
	} {
		if said := l.run(exit.CodeOK, "", tt.args...); said != tt.want {
			t.Errorf("%v: %q; want %q", tt.args, said, tt.want)
		}
	}
	l.run(exit.CodeOK, "", "context", "use", "a")
	if said := l.run(exit.CodeOK, "", "machine", "ls", "-q"); said != "a\n" {
		t.Errorf("after context use: %q", said)
	}
	if _, err := os.Stat(filepath.Join(l.home, "xdg", "gild", "logins.json")); err != nil {
		t.Error(err)
	}
}

// context rm forgets the server of a name, and another one than the current is
// not touched.
func TestContextRm(t *testing.T) {
	l := newLaptop(t)
	for _, name := range []string{"one", "two"} {
		at, fingerprint := secure(t, clitest.NewFake(t))
		l.run(exit.CodeOK, "gild-secret\n", "login", at, "--fingerprint", fingerprint, "--name", name)
	}
	l.run(exit.CodeNotFound, "", "context", "rm", "three")
	l.run(exit.CodeUsage, "", "context", "rm")
	if got := l.run(exit.CodeOK, "", "context", "rm", "one"); got != "one is forgotten\n" {
		t.Errorf("context rm: %q", got)
	}
	if got := l.run(exit.CodeOK, "", "context", "ls"); strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("context ls: %q", got)
	}
}

// What a shell suggests is of the server that the user works with.
func TestCompletionAfterLogin(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	at, fingerprint := secure(t, f)
	l := newLaptop(t)
	l.run(exit.CodeOK, "gild-secret\n", "login", at, "--fingerprint", fingerprint)
	for line, want := range map[string]string{"machine show w": "web-1", "image show ": "db", "flash --image ": "db"} {
		if got := l.run(exit.CodeOK, "", append([]string{"__completeNoDesc"}, strings.Split(line, " ")...)...); !strings.Contains(got, want) {
			t.Errorf("completing %q = %q; want %s in it", line, got, want)
		}
	}
}
