package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/logins"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// DefaultOperator is where the operator API of a server listens.
const DefaultOperator = "127.0.0.1:8081"

// Server is how the operator API of a server is reached.
type Server struct {
	URL   string // empty: by the socket in the data directory, else at DefaultOperator
	Token Token
	CA    string // file of certificates
	// Pinned are the certificates that a login has, PEM; CA goes before them.
	Pinned string
}

// Token is where the admin token may be. The first that is given counts.
type Token struct {
	File        string // named on the command line
	DefaultFile string // named in the environment
	Default     string // the environment's own
}

// maxTokenFile and maxCAFile bound in bytes what is read of these files.
const (
	maxTokenFile = 4 << 10
	maxCAFile    = 1 << 20
)

// Operator talks to the running server: by the socket in the data directory,
// where it knows who comes, unless a URL is given.
func (a *App) Operator() (*operatorclient.Client, error) {
	if a.URL == "" {
		op, err := a.Local()
		if err == nil || !errors.Is(err, local.ErrNoServer) && !errors.Is(err, fs.ErrPermission) {
			return op, err
		}
		a.URL = "http://" + DefaultOperator
	}
	base, err := url.Parse(a.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, exit.Usage(exit.Hint(fmt.Errorf("--server %.100q is not a valid URL", a.URL),
			"use http://127.0.0.1:8081 or https://HOST:PORT"))
	}
	token, err := a.Token.Read()
	if err != nil {
		return nil, err
	}
	if token != "" && base.Scheme == "http" && !Loopback(base.Hostname()) {
		return nil, InTheClear(a.URL)
	}
	hc, err := a.operatorHTTP()
	if err != nil {
		return nil, err
	}
	return &operatorclient.Client{BaseURL: strings.TrimSuffix(a.URL, "/"), Token: token, HTTP: hc}, nil
}

// Current finds the server that the user works with: the one that is named, by
// flag or environment, else the one of the login, unless a data directory is
// named, by a flag or in the environment.
func (a *App) Current(dataFlag bool) error {
	if a.URL == "" && (dataFlag || a.DataNamed) {
		return nil
	}
	all, err := logins.Load(a.Logins)
	if err != nil {
		return exit.Input(err)
	}
	s, ok := all.At(a.URL)
	if !ok {
		return nil
	}
	a.URL, a.Pinned = s.URL, s.CA
	if !a.Token.Given() {
		a.Token.Default = s.Token
	}
	return nil
}

// Local talks to the server that runs on the data directory, by its socket,
// whatever URL is given: what it is asked is about that directory. Without one
// the error is [local.ErrNoServer].
func (a *App) Local() (*operatorclient.Client, error) {
	at := local.Client{Dir: a.Data}
	if err := at.Answers(context.Background()); err != nil {
		return nil, err
	}
	a.URL = "the socket in " + a.Data
	return &operatorclient.Client{BaseURL: local.Operator, HTTP: at.HTTP()}, nil
}

// Keeper is the server that keeps the state of the data directory, and so knows
// what its machines and groups need. nil: there is no state, or it is forced
// and nobody can be asked. what completes the refusal where a state lies and no
// server runs: "so it is not known ...".
func (a *App) Keeper(what string, force bool) (*operatorclient.Client, error) {
	op, err := a.Local()
	switch {
	case !errors.Is(err, local.ErrNoServer):
		return op, err
	case force || !etcd.Exists(a.Data):
		return nil, nil
	}
	return nil, exit.Refused(exit.Hint(
		fmt.Errorf("no server runs on %s, so it is not known %s", a.Data, what),
		"start `gild serve` first, or remove it all the same with --force"))
}

// InTheClear is the refusal to send the admin token where others can read it.
func InTheClear(url string) error {
	return exit.Usage(exit.Hint(
		fmt.Errorf("the admin token would be sent in the clear to %s", url),
		"use https (gild serve --operator-cert), or a tunnel: ssh -L 8081:127.0.0.1:8081 SERVER",
	))
}

// Loopback reports whether a host is this one for certain.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// operatorHTTP gives a client that follows no redirect: whoever answers with
// one is not gild, and must not be handed the token.
func (a *App) operatorHTTP() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	pem := []byte(a.Pinned)
	if a.CA != "" {
		var err error
		if pem, err = a.CAFile(); err != nil {
			return nil, err
		}
	}
	if len(pem) > 0 {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// CAFile reads the file of certificates.
func (s *Server) CAFile() ([]byte, error) {
	pem, err := ReadSmall(s.CA, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading --ca: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, exit.Input(fmt.Errorf("--ca %s contains no PEM certificate", s.CA))
	}
	return pem, nil
}

// Given reports whether there is one to be read, which is done once: a file may
// be a pipe.
func (t Token) Given() bool { return t.File != "" || t.DefaultFile != "" || t.Default != "" }

// Read finds the admin token; empty: none is given.
func (t Token) Read() (string, error) {
	switch {
	case t.File != "":
		return readToken(t.File)
	case t.DefaultFile != "":
		return readToken(t.DefaultFile)
	case t.Default != "":
		return CheckToken("GILD_TOKEN", t.Default)
	}
	return "", nil
}

func readToken(path string) (string, error) {
	p, err := ReadSmall(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	return CheckToken(path, string(p))
}

// CheckToken keeps what cannot be a token from being sent, and from being
// quoted in an error.
func CheckToken(from, token string) (string, error) {
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", exit.Input(fmt.Errorf("%s contains no valid token: expected one line of letters and digits", from))
	}
	return token, nil
}

// Reached sorts the errors of a call: what the server said, and that there is
// none.
func (a *App) Reached(err error) error {
	var transport *url.Error
	var said *operatorclient.ProblemError
	var unverified *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unverified):
		return exit.Denied(distrusted(a.URL, unverified))
	case errors.As(err, &transport):
		return exit.NoServer(exit.Hint(fmt.Errorf("cannot reach a server at %s: %w", a.URL, err),
			"start one with `gild serve`, or give its URL with --server"))
	case !errors.As(err, &said):
		return err
	}
	switch {
	case said.Status == http.StatusUnauthorized, said.Status == http.StatusForbidden:
		return exit.Denied(exit.Hint(err,
			"on the server itself, run as root; elsewhere, give the admin token that `gild serve` printed at its first start: --token-file "+
				"FILE, GILD_TOKEN_FILE or GILD_TOKEN; `gild token new` makes a new one"))
	case said.Status == http.StatusNotFound:
		return exit.NotFound(err)
	case said.Status == http.StatusConflict:
		return exit.Refused(err)
	case said.Status/100 == 4:
		return exit.Usage(err)
	}
	return err
}

// distrusted says why the certificate of a server is not trusted, and what
// would make it so.
func distrusted(at string, why *tls.CertificateVerificationError) error {
	hint := "log in with gild login, which shows it, or give the certificate of who signed it with --ca FILE; " +
		"one that signed itself is its own"
	switch named := (x509.HostnameError{}); {
	case errors.As(why, &named) && len(named.Certificate.DNSNames)+len(named.Certificate.IPAddresses) > 0:
		names := named.Certificate.DNSNames
		for _, ip := range named.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		hint = "give --server a name that it is for: " + strings.Join(names[:min(len(names), maxNamed)], ", ")
	case errors.As(why, &x509.CertificateInvalidError{}):
		hint = "renew it and restart the server, or set the clock of this machine right"
	}
	return exit.Hint(fmt.Errorf("the certificate of %s is not trusted: %w", at, why.Err), hint)
}

// maxNamed bounds how many names of a certificate are told.
const maxNamed = 5
