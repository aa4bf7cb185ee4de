package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/gild-dev/gild/internal/server/state/keys"
)

// Cluster is the operator's own etcd.
type Cluster struct {
	Endpoints []string // "https://host:2379"
	// Files in PEM form. CA empty: the system's. Cert and Key together, for a
	// cluster that knows its clients by certificate.
	CA, Cert, Key string
	// User and Password are for a cluster with authentication.
	User, Password string
}

// ClusterError says why a cluster cannot be used.
type ClusterError struct {
	What string
	Help string
	Err  error // may be nil
}

func (e *ClusterError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

func (e *ClusterError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *ClusterError) Hint() string { return e.Help }

// connectWithin bounds how long a cluster may take to answer at the start.
const connectWithin = 10 * time.Second

// Minor release of etcd 3 that the store needs: Debian 12 has 3.4, and 3.3
// has no watch that ends when there is no leader.
const oldestMinor = 4

// Connect makes a client of the cluster and tries it: one member must answer,
// and there must be a quorum. Errors are *ClusterError. The caller closes the
// client.
func (c Cluster) Connect(ctx context.Context) (*clientv3.Client, error) {
	secure, err := c.tls()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints, TLS: secure, Username: c.User, Password: c.Password,
		DialTimeout: connectWithin,
		// A member whose host has died answers nothing, and nothing else tells.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		Logger: zap.NewNop(), // what goes wrong comes back as an error
	})
	if err != nil {
		return nil, c.explain(err)
	}
	if err := c.try(ctx, client); err != nil {
		_ = client.Close()
		if secure != nil && keys.Unavailable(err) {
			err = c.handshake(ctx, secure, err)
		}
		return nil, err
	}
	return client, nil
}

// handshake asks each member by plain TLS why it does not answer: the client
// only says that time has passed, whatever is wrong with a certificate.
func (c Cluster) handshake(ctx context.Context, secure *tls.Config, otherwise error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			continue
		}
		conn, err := (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", u.Host)
		if err == nil {
			// With TLS 1.3 a server says of a client's certificate only now.
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err != nil && (strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tls:")) {
			return c.explain(err)
		}
	}
	return otherwise
}

// try asks every member for its version, then the cluster for a value that
// only a quorum can vouch for.
func (c Cluster) try(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	type answer struct {
		endpoint, version string
		err               error
	}
	answers := make(chan answer, len(c.Endpoints))
	for _, e := range c.Endpoints {
		go func() {
			one, cancel := context.WithTimeout(ctx, connectWithin/2)
			defer cancel()
			resp, err := client.Status(one, e)
			if err != nil {
				answers <- answer{e, "", err}
				return
			}
			answers <- answer{e, resp.Version, nil}
		}()
	}
	var failed error
	alive := 0
	for range c.Endpoints {
		a := <-answers
		if a.err != nil {
			failed = a.err
			continue
		}
		if err := checkVersion(a.endpoint, a.version); err != nil {
			return err
		}
		alive++
	}
	if alive == 0 {
		return c.explain(failed)
	}
	if _, err := client.Get(ctx, "/"); err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return c.explain(err)
	}
	return nil
}

func checkVersion(endpoint, version string) error {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if major == "3" && err == nil && n >= oldestMinor {
		return nil
	}
	return &ClusterError{
		What: fmt.Sprintf("etcd at %s is version %.20q", endpoint, version),
		Help: fmt.Sprintf("gild works with etcd 3.%d and later versions 3", oldestMinor),
	}
}

// tls reads the files and checks the spelling of what was given.
func (c Cluster) tls() (*tls.Config, error) {
	https := 0
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			return nil, &ClusterError{
				What: fmt.Sprintf("etcd address %.100q is not of the form https://host:2379", e),
				Help: "name every member: --etcd https://a:2379,https://b:2379",
			}
		}
		if u.Scheme == "https" {
			https++
		} else if ip := net.ParseIP(u.Hostname()); c.Password != "" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, &ClusterError{What: "etcd's password would cross the network in the clear to " + e, Help: "use https"}
		}
	}
	switch {
	case len(c.Endpoints) == 0:
		return nil, &ClusterError{What: "no etcd address is named", Help: "name every member: --etcd https://a:2379,https://b:2379"}
	case https == 0 && c.CA+c.Cert+c.Key != "":
		return nil, &ClusterError{What: "certificates are given for etcd, but its addresses are not https", Help: "write https://host:2379"}
	case https == 0:
		return nil, nil
	case https < len(c.Endpoints):
		return nil, &ClusterError{What: "some of etcd's addresses are https and some are not", Help: "write all of them as https://host:2379"}
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		p, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, &ClusterError{What: "reading the certificates that etcd's is checked against", Help: "see --etcd-ca", Err: err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(p) {
			return nil, &ClusterError{What: c.CA + " holds no certificate", Help: "--etcd-ca wants a file in PEM form"}
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, &ClusterError{
				What: "reading the certificate to show to etcd",
				Help: "--etcd-cert and --etcd-key go together and are in PEM form", Err: err,
			}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// explain names the common ways in which a cluster does not answer.
func (c Cluster) explain(err error) error {
	e := &ClusterError{What: "the etcd cluster at " + strings.Join(c.Endpoints, ", ") + " cannot be used", Err: err}
	text := err.Error()
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrInvalidAuthToken):
		e.Help = "it refuses the user or the password: see --etcd-user"
	case strings.Contains(text, "certificate") || strings.Contains(text, "tls:"):
		e.Help = "see --etcd-ca, --etcd-cert and --etcd-key; the names in etcd's certificate must be those of --etcd"
	case keys.Unavailable(err):
		e.Help = "are the members running, and is there a majority of them? `etcdctl endpoint status --cluster` shows them"
	default:
		e.Help = "`etcdctl endpoint status --cluster` shows its members"
	}
	return e
}
