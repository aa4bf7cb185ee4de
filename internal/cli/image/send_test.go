package image_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/door/operators"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/uses"
	"github.com/gild-dev/gild/internal/server/stored"
	"github.com/gild-dev/gild/internal/server/uploads"
)

// removing removes images as a server does; of Named something is.
type removing struct {
	operators.Control
	store *store.Store
	named string
}

func (r removing) RemoveImages(ctx context.Context, _ string, names []string, force bool) (out []api.RemovedImage, err error) {
	for _, n := range names {
		if n == r.named && !force {
			return nil, uses.Refuse(api.KindImage, n, []api.Use{{Kind: api.UseMachine, Name: "b7"}})
		}
		if _, err := r.store.Resolve(n); err != nil {
			return nil, &fleet.UnknownError{What: "image", Name: n}
		}
		out = append(out, api.RemovedImage{Name: n, Uses: []api.Use{}})
		err = errors.Join(err, r.store.Remove(ctx, n))
	}
	return out, err
}

// lossy cuts the bodies of requests at random.
type lossy struct {
	http.Handler
	mu     sync.Mutex
	random *rand.Rand
	cuts   int
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/api/v1/blobs/") && r.Method == http.MethodPut && (l.cuts == 0 || l.random.IntN(3) > 0) {
		l.cuts++
		part := io.LimitReader(r.Body, l.random.Int64N(20_000))
		r.Body = io.NopCloser(io.MultiReader(part, cutOff{}))
	}
	l.Handler.ServeHTTP(w, r)
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { panic(http.ErrAbortHandler) }

// imageServer serves a store of its own.
func imageServer(t *testing.T) (*store.Store, *lossy, string) {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	images := stored.Images{Store: st}
	o := operators.Door{
		Control: removing{store: st, named: "kept"}, Images: images, Inspector: &stored.Inspector{Images: images},
		Uploads: &uploads.Uploads{Store: st, Describe: images.Describe, Note: func(context.Context, api.Event) error { return nil }},
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := &lossy{Handler: o.Handler(), random: rand.New(rand.NewPCG(seed, 1))}
	s := httptest.NewServer(l)
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return st, l, s.URL
}

// From a laptop: stored, listed, renamed, removed, over a link that cuts.
func TestImagesOfAServer(t *testing.T) {
	st, link, url := imageServer(t)
	data, file := filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "disk")
	raw := clitest.Disk(64 << 10)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(raw[4096:]); err != nil { // not to be packed
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	on := func(want int, args ...string) string {
		t.Helper()
		got := gild.Run(t, data, nil, append([]string{"--server", url}, args...)...)
		if got.Code != want {
			t.Fatalf("%v: %+v; want code %d", args, got, want)
		}
		return got.Stdout + got.Stderr
	}
	on(exit.CodeOK, "image", "add", "web", file)
	if link.cuts == 0 {
		t.Error("nothing was cut")
	}
	im, err := st.Image("web")
	if err != nil {
		t.Fatal(err)
	}
	local := gild.Run(t, t.TempDir(), nil, "image", "add", "web", file, "--json")
	if local.Code != exit.CodeOK || !strings.Contains(local.Stdout, string(im.Digest)) {
		t.Errorf("stored here it is %s; the server has %s", local.Stdout, im.Digest)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the data directory was made")
	}
	// The same once more sends nothing and replaces nothing.
	cuts := link.cuts
	if said := on(exit.CodeOK, "image", "add", "web", file); link.cuts != cuts || strings.Contains(said, "replaces") {
		t.Errorf("the same again: %s, %d cuts more", said, link.cuts-cuts)
	}
	raw[5000]++
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := on(exit.CodeOK, "image", "add", "web", file); !strings.Contains(said, "it replaces "+im.Digest.Short()) {
		t.Errorf("another of that name: %s", said)
	}
	here := gild.Run(t, filepath.Dir(st.Dir()), nil, "image", "show", "web").Stdout
	if said := on(exit.CodeOK, "image", "show", "web"); said != here || !strings.Contains(said, "sectors of 512") {
		t.Errorf("show: %s; want what the server's own directory says: %s", said, here)
	}
	here = gild.Run(t, filepath.Dir(st.Dir()), nil, "image", "show", "web", "--json").Stdout
	if said := on(exit.CodeOK, "image", "show", "web", "--json"); said != here {
		t.Errorf("show --json: %s; want %s", said, here)
	}
	on(exit.CodeNotFound, "image", "show", "nobody")
	on(exit.CodeNotFound, "image", "verify", "nobody")
	if said := on(exit.CodeOK, "image", "verify"); said != "web: OK\n" {
		t.Errorf("verify: %q", said)
	}
	on(exit.CodeOK, "image", "rename", "web", "kept")
	if said := on(exit.CodeOK, "image", "ls", "-q"); said != "kept\n" {
		t.Errorf("ls after rename: %q", said)
	}
	if said := on(exit.CodeRefused, "image", "rename", "kept", "db"); !strings.Contains(said, "b7") {
		t.Errorf("renaming what is named: %s", said)
	}
	if said := on(exit.CodeOK, "image", "ls", "-q"); said != "kept\n" {
		t.Errorf("ls after a refusal: %q", said)
	}
	on(exit.CodeRefused, "image", "rm", "kept", "--yes")
	on(exit.CodeNotFound, "image", "rm", "nobody", "--yes")
	on(exit.CodeOK, "image", "rm", "kept", "--yes", "--force")
	on(exit.CodeUsage, "image", "add", "No Name", file)
	if left, _ := filepath.Glob(filepath.Join(st.Dir(), "uploads", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The server reads its own bytes, and names the part that is damaged.
func TestVerifyOnAServer(t *testing.T) {
	st, _, url := imageServer(t)
	data := filepath.Dir(st.Dir())
	if got := gild.Run(t, data, clitest.Disk(8<<10), "image", "add", "web", "-"); got.Code != exit.CodeOK {
		t.Fatal(got)
	}
	im, err := st.Image("web")
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(st.Dir(), "blobs", "sha256", im.Disk.Digest.Hex())
	raw, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(blob, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	got := gild.Run(t, t.TempDir(), nil, "--server", url, "image", "verify", "web")
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stderr, "disk.v1+zstd is damaged") {
		t.Errorf("verify: %+v; want code %d and the part", got, exit.CodeFailed)
	}
	here := gild.Run(t, data, nil, "image", "verify", "web")
	if here.Stderr != got.Stderr {
		t.Errorf("verify here: %s; there: %s", here.Stderr, got.Stderr)
	}
	got = gild.Run(t, t.TempDir(), nil, "--server", url, "image", "verify", "--json")
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stdout, `"ok": false`) {
		t.Errorf("verify --json: %+v", got)
	}
}

// Without a server nothing else is in the way of a new name.
func TestRename(t *testing.T) {
	data := t.TempDir()
	if got := gild.Run(t, data, clitest.Disk(8<<10), "image", "add", "web", "-"); got.Code != exit.CodeOK {
		t.Fatal(got)
	}
	before, err := os.ReadDir(filepath.Join(data, "images", "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	if got := gild.Run(t, data, nil, "image", "rename", "web", "db"); got.Code != exit.CodeOK || got.Stdout != "web is db now\n" {
		t.Errorf("rename: %+v", got)
	}
	if got := gild.Run(t, data, nil, "image", "rename", "web", "db"); got.Code != exit.CodeRefused {
		t.Errorf("rename to a name that is taken: %+v", got)
	}
	if got := gild.Run(t, data, nil, "image", "rename", "web", "other"); got.Code != exit.CodeNotFound {
		t.Errorf("rename of none: %+v", got)
	}
	after, err := os.ReadDir(filepath.Join(data, "images", "blobs", "sha256"))
	if err != nil || len(after) != len(before) {
		t.Errorf("%d blobs, were %d, %v", len(after), len(before), err)
	}
	if got := gild.Run(t, data, nil, "image", "export", "db", "-"); !bytes.Equal([]byte(got.Stdout), clitest.Disk(8<<10)) {
		t.Errorf("export under the new name: %d bytes, %s", len(got.Stdout), got.Stderr)
	}
}
