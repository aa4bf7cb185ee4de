package app_test

import (
	"encoding/pem"
	"net/http"
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

var gild = clitest.Main(cli.Main)

// The admin token crosses a network by TLS or not at all; to this host it may
// go as it is.
func TestTokenIsNotSentInTheClear(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("gild-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{
		"http://192.0.2.1:8081":      exit.CodeUsage,
		"http://gild.example:8081":   exit.CodeUsage,
		"http://localhost.evil:8081": exit.CodeUsage,
		"http://[2001:db8::1]:8081":  exit.CodeUsage,
		"http://127.0.0.1:1":         exit.CodeNoServer,
		"http://localhost:1":         exit.CodeNoServer,
		"http://[::1]:1":             exit.CodeNoServer,
		"https://127.0.0.1:1":        exit.CodeNoServer,
	} {
		got := gild.Run(t, t.TempDir(), nil, "--server", url, "--token-file", file, "machine", "ls")
		if got.Code != want || want == exit.CodeUsage && !strings.Contains(got.Stderr, "in the clear") || strings.Contains(got.Stderr, "secret") {
			t.Errorf("%s: %+v; want exit %d", url, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	f.Token = "s3cret-canary"
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("token", f.Token+"\n")
	wrong, empty := write("token", "s3cret-wrong"), write("token", "")
	for name, tt := range map[string]struct {
		args []string
		env  map[string]string
		code int
	}{
		"none":             {code: exit.CodeDenied},
		"flag":             {args: []string{"--token-file", good}, code: exit.CodeOK},
		"file in the env":  {env: map[string]string{"GILD_TOKEN_FILE": good}, code: exit.CodeOK},
		"env":              {env: map[string]string{"GILD_TOKEN": f.Token}, code: exit.CodeOK},
		"wrong":            {args: []string{"--token-file", wrong}, code: exit.CodeDenied},
		"flag wins":        {args: []string{"--token-file", wrong}, env: map[string]string{"GILD_TOKEN": f.Token}, code: exit.CodeDenied},
		"empty":            {args: []string{"--token-file", empty}, code: exit.CodeInput},
		"missing":          {args: []string{"--token-file", "/none"}, code: exit.CodeNotFound},
		"two lines":        {env: map[string]string{"GILD_TOKEN": "s3cret\r\nX: y"}, code: exit.CodeInput},
		"endless":          {args: []string{"--token-file", "/dev/zero"}, code: exit.CodeInput},
		"ca of no sort":    {args: []string{"--ca", good, "--token-file", good}, code: exit.CodeInput},
		"another protocol": {args: []string{"--server", "ftp://127.0.0.1"}, code: exit.CodeUsage},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := gild(t.Context(), append([]string{"machine", "ls", "--server", f.URL}, tt.args...), app.Surroundings{
				Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(k string) string {
					if v, ok := tt.env[k]; ok || k != "GILD_DATA" {
						return v
					}
					return t.TempDir()
				},
			})
			if code != tt.code {
				t.Errorf("exit code %d, %q; want %d", code, stderr.String(), tt.code)
			}
			if strings.Contains(stdout.String()+stderr.String(), "s3cret") {
				t.Errorf("the token is shown: %q", stderr.String())
			}
		})
	}
}

// The token is not handed on to where an answer points.
func TestTokenStaysHome(t *testing.T) {
	f := clitest.NewFake(t)
	thief := clitest.NewFake(t)
	f.Config.Handler = http.RedirectHandler(thief.URL+api.PathMachines, http.StatusTemporaryRedirect)
	if got := gild.Run(t, t.TempDir(), nil, "--server", f.URL, "machine", "ls"); got.Code != exit.CodeFailed || len(thief.Asked) > 0 {
		t.Errorf("redirected: %+v, asked %q; want a failure and nobody asked", got, thief.Asked)
	}
}

func TestTLS(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	handler := f.Config.Handler
	secure := newTLS(t, handler)
	if got := gild.Run(t, t.TempDir(), nil, "--server", secure.URL, "machine", "ls"); got.Code != exit.CodeDenied ||
		!strings.Contains(got.Stderr, "is not trusted") || !strings.Contains(got.Stderr, "--ca FILE") {
		t.Errorf("an unknown certificate: %+v; want exit code %d, and what to do", got, exit.CodeDenied)
	}
	other := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	if got := gild.Run(t, t.TempDir(), nil, "--server", other, "--ca", secure.ca, "machine", "ls"); got.Code != exit.CodeDenied ||
		!strings.Contains(got.Stderr, "a name that it is for: example.com") {
		t.Errorf("a certificate for other names: %+v; want exit code %d, and the names", got, exit.CodeDenied)
	}
	if got := gild.Run(t, t.TempDir(), nil, "--server", secure.URL, "--ca", secure.ca, "machine", "ls"); got.Code != exit.CodeOK {
		t.Errorf("--ca: %+v", got)
	}
}

type tlsServer struct {
	*httptest.Server
	ca string
}

func newTLS(t *testing.T, h http.Handler) tlsServer {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return tlsServer{s, ca}
}
