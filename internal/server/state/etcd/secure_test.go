package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
	"github.com/gild-dev/gild/internal/tier"
)

// authority signs certificates for the length of a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.issue(t, "ca", a.cert, nil)
	return a
}

// issue writes DIR/NAME.pem and DIR/NAME.key.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	cert, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{"pem": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+"."+file), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// secured starts an etcd that speaks TLS and knows its clients by certificate.
func secured(t *testing.T, a *authority) string {
	t.Helper()
	leaf := func(name string, serial int64, use x509.ExtKeyUsage) {
		a.issue(t, name, &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{use, x509.ExtKeyUsageClientAuth},
		}, a.key)
	}
	leaf("server", 2, x509.ExtKeyUsageServerAuth)
	leaf("client", 3, x509.ExtKeyUsageClientAuth)
	return etcdtest.StartTLS(t, 1, "--cert-file", a.file("server.pem"), "--key-file", a.file("server.key"),
		"--trusted-ca-file", a.file("ca.pem"), "--client-cert-auth")[0].Client
}

// A cluster that asks for certificates and passwords is used with them, by a
// user who may do no more than is needed, and refuses without them in words
// that help and hold no secret.
func TestSecuredCluster(t *testing.T) {
	tier.Slow(t, "starts an etcd")
	a := newAuthority(t)
	good := Cluster{Endpoints: []string{secured(t, a)}, CA: a.file("ca.pem"), Cert: a.file("client.pem"), Key: a.file("client.key")}
	admin := connect(t, good)
	storetest.Update(t, state.New(keys.Space{Client: admin, Prefix: "/gild/"}, nil, nil), storetest.MAC,
		func(m *fleet.Record) ([]api.Event, error) { m.Seq = 7; return nil, nil })

	refused := func(name, says string, c Cluster) {
		t.Helper()
		client, err := c.Connect(t.Context())
		if err == nil {
			_, err = state.New(keys.Space{Client: client, Prefix: "/gild/"}, nil, nil).Get(t.Context(), storetest.MAC)
			client.Close()
		}
		e, ok := errors.AsType[*ClusterError](err)
		if !ok || !strings.Contains(err.Error()+e.Hint(), says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: Connect = %v; want a refusal with %q", name, err, says)
		}
	}
	without, stranger := good, good
	without.Cert, without.Key = "", ""
	stranger.CA = newAuthority(t).file("ca.pem")
	refused("no certificate", "--etcd-cert", without)
	refused("certificate of a stranger", "--etcd-ca", stranger)

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for name, password := range map[string]string{"root": "canary-root", "gild": "canary-gild", "other": "canary-other"} {
		_, err := admin.UserAdd(ctx, name, password)
		must(err)
	}
	_, err := admin.RoleAdd(ctx, "gild")
	must(err)
	_, err = admin.RoleGrantPermission(ctx, "gild", "/gild/", clientv3.GetPrefixRangeEnd("/gild/"),
		clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = admin.UserGrantRole(ctx, "root", "root")
	must(err)
	_, err = admin.UserGrantRole(ctx, "gild", "gild")
	must(err)
	_, err = admin.AuthEnable(ctx)
	must(err)

	user := good
	user.User, user.Password = "gild", "canary-gild"
	s := state.New(keys.Space{Client: connect(t, user), Prefix: "/gild/"}, nil, nil)
	if m, err := s.Get(ctx, storetest.MAC); err != nil || m.Seq != 7 {
		t.Errorf("Get as a user = %+v, %v", m, err)
	}
	storetest.Update(t, s, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) { m.Seq = 8; return []api.Event{{Seq: 8}}, nil })
	storetest.Servers(t, s) // as a user, too: announcements are on leases
	wrong := user
	wrong.Password = "canary-wrong"
	refused("wrong password", "--etcd-user", wrong)
}
