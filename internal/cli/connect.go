package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server/local"
)

// connection is how the operator API of a server is reached.
type connection struct {
	server    string // base URL
	tokenFile string
	ca        string // file of certificates
}

// maxTokenFile and maxCAFile bound in bytes what is read of these files.
const (
	maxTokenFile = 4 << 10
	maxCAFile    = 1 << 20
)

// operator talks to the running server: by the socket in the data directory,
// where it knows who comes, unless a URL is given.
func (a *app) operator() (*client.Operator, error) {
	if a.server == "" {
		at := local.Client{Dir: a.data}
		err := at.Answers(context.Background())
		switch {
		case err == nil:
			a.server = "the socket in " + a.data
			return &client.Operator{BaseURL: local.Operator, HTTP: at.HTTP()}, nil
		case !errors.Is(err, local.ErrNoServer) && !errors.Is(err, fs.ErrPermission):
			return nil, err
		}
		a.server = "http://" + defaultOperatorAddr
	}
	base, err := url.Parse(a.server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, exit.Usage(exit.Hint(fmt.Errorf("--server %.100q is no URL of a server", a.server), "give it as http://127.0.0.1:8081 or https://HOST:PORT"))
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	if token != "" && base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, exit.Usage(exit.Hint(
			fmt.Errorf("the admin token would cross the network in the clear to %s", a.server),
			"use https (gild serve --operator-cert), or a tunnel: ssh -L 8081:127.0.0.1:8081 SERVER",
		))
	}
	hc, err := a.operatorHTTP()
	if err != nil {
		return nil, err
	}
	return &client.Operator{BaseURL: strings.TrimSuffix(a.server, "/"), Token: token, HTTP: hc}, nil
}

// loopback reports whether a host is this one for certain.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// operatorHTTP gives a client that follows no redirect: whoever answers with
// one is not gild, and must not be handed the token.
func (a *app) operatorHTTP() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if a.ca != "" {
		pem, err := readSmall(a.ca, maxCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading --ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, exit.Input(fmt.Errorf("--ca %s holds no PEM certificate", a.ca))
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// token finds the admin token; empty: none is given.
func (a *app) token() (string, error) {
	if path := a.tokenFile; path != "" {
		return readToken(path)
	}
	if path := a.Getenv("GILD_TOKEN_FILE"); path != "" {
		return readToken(path)
	}
	if token := a.Getenv("GILD_TOKEN"); token != "" {
		return checkToken("GILD_TOKEN", token)
	}
	return "", nil
}

func readToken(path string) (string, error) {
	p, err := readSmall(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	return checkToken(path, string(p))
}

// checkToken keeps what cannot be a token from being sent, and from being
// quoted in an error.
func checkToken(from, token string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", exit.Input(fmt.Errorf("%s holds no token: one line of letters and digits is expected", from))
	}
	return token, nil
}

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(p)) > limit {
		err = exit.Input(fmt.Errorf("%s has more than %d bytes", path, limit))
	}
	return p, err
}

// reached sorts the errors of a call: what the server said, and that there is
// none.
func (a *app) reached(err error) error {
	var transport *url.Error
	var said *client.ProblemError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &transport):
		return exit.NoServer(exit.Hint(fmt.Errorf("no server answers at %s: %w", a.server, err), "start one with `gild serve`, or name it with --server"))
	case !errors.As(err, &said):
		return err
	}
	switch {
	case said.Status == http.StatusUnauthorized, said.Status == http.StatusForbidden:
		return exit.Denied(exit.Hint(err, "on the server itself run it as root; elsewhere give the admin token that `gild serve` showed at its first start: --token-file FILE, GILD_TOKEN_FILE or GILD_TOKEN; `gild token new` makes another"))
	case said.Status == http.StatusNotFound:
		return exit.NotFound(err)
	case said.Status == http.StatusConflict:
		return exit.Refused(err)
	case said.Status/100 == 4:
		return exit.Usage(err)
	}
	return err
}
