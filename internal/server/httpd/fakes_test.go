package httpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/fleet"
)

const mac = "52:54:00:00:00:01"

// memMachines keeps one machine in memory under the real rules.
type memMachines struct {
	mu sync.Mutex
	m  fleet.Record

	ticket string // for the scripts
}

func (f *memMachines) Seen(_ context.Context, s fleet.Sighting) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fleet.Seen(&f.m, s, time.Now())
	return nil
}

func (f *memMachines) Boot(_ context.Context, who api.Inventory, _ string) (fleet.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, _ := fleet.Boot(&f.m, who, nil, time.Now())
	d.Ticket = f.ticket
	return d, nil
}

func (f *memMachines) Hello(_ context.Context, h api.Hello, from string) (api.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, _ := fleet.Hello(&f.m, h, from, false, time.Now())
	return a, nil
}

func (f *memMachines) Report(_ context.Context, r api.Report, from string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := fleet.Report(&f.m, r, from, time.Now())
	return err
}

func (f *memMachines) Identity(_ context.Context, r api.IdentityRequest, _ string) (api.Identity, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m.Armed == nil || f.m.Armed.Plan.ID != r.Plan || f.m.Session != r.Session {
		return api.Identity{}, false, &fleet.SessionError{MAC: r.MAC, Why: "it does not hold this plan"}
	}
	return api.Identity{Hostname: canary}, f.m.Armed.Plan.Identity != "", nil
}

func (f *memMachines) Beacon(_ context.Context, token, from string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := fleet.Beacon(&f.m, token, from, time.Now())
	return ok, nil
}

// canary stands for every secret: it must be found in no log.
const canary = "CANARYCANARYCANARY"

// brokenMachines fails as a lost etcd does.
type brokenMachines struct{}

func (brokenMachines) Seen(context.Context, fleet.Sighting) error { return io.ErrClosedPipe }
func (brokenMachines) Boot(context.Context, api.Inventory, string) (fleet.Decision, error) {
	return fleet.Decision{}, io.ErrClosedPipe
}

func (brokenMachines) Hello(context.Context, api.Hello, string) (api.Answer, error) {
	return api.Answer{}, io.ErrClosedPipe
}
func (brokenMachines) Report(context.Context, api.Report, string) error { return io.ErrClosedPipe }
func (brokenMachines) Identity(context.Context, api.IdentityRequest, string) (api.Identity, bool, error) {
	return api.Identity{}, false, io.ErrClosedPipe
}

func (brokenMachines) Beacon(context.Context, string, string) (bool, error) {
	return false, io.ErrClosedPipe
}

// memImages is a store in memory and boots every image with the same files.
type memImages struct {
	names map[string]golden.Digest
	blobs map[golden.Digest][]byte
}

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

func (s *memImages) add(p []byte) golden.Digest {
	d := golden.DigestOf(p)
	s.blobs[d] = p
	return d
}

func (s *memImages) List(context.Context) ([]api.Image, error) {
	var out []api.Image
	for name, d := range s.names {
		out = append(out, api.Image{Name: name, Digest: string(d)})
	}
	return out, nil
}

func (s *memImages) Resolve(_ context.Context, name string) (golden.Digest, error) {
	if d, ok := s.names[name]; ok {
		return d, nil
	}
	return "", fmt.Errorf("image %q: %w", name, fs.ErrNotExist)
}

func (s *memImages) Describe(ctx context.Context, name string) (api.Image, error) {
	d, err := s.Resolve(ctx, name)
	return api.Image{Name: name, Digest: string(d)}, err
}

func (s *memImages) Blob(_ context.Context, d golden.Digest) (io.ReadSeekCloser, error) {
	if p, ok := s.blobs[d]; ok {
		return memFile{bytes.NewReader(p)}, nil
	}
	return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
}

func (s *memImages) Spec(_ context.Context, q bootspec.Question) (bootspec.Spec, error) {
	return bootspec.Spec{Source: q.Image, Cmdline: strings.Join(q.Servers, ",") + " " + q.Ticket}, nil
}

func (s *memImages) Open(ctx context.Context, from golden.Digest, file string) (bootspec.File, error) {
	if _, err := s.Blob(ctx, from); err != nil {
		return bootspec.File{}, err
	}
	if file != bootspec.Kernel && file != bootspec.Initramfs {
		return bootspec.File{}, fs.ErrNotExist
	}
	return bootspec.File{ReadSeekCloser: memFile{bytes.NewReader([]byte(file))}, Tag: file}, nil
}

// newImages stores one image, "debian", whose disk blob holds disk.
func newImages(t *testing.T, disk []byte) *memImages {
	t.Helper()
	s := &memImages{names: map[string]golden.Digest{}, blobs: map[golden.Digest][]byte{}}
	descriptor := func(mediaType string, p []byte) golden.Descriptor {
		return golden.Descriptor{MediaType: mediaType, Digest: s.add(p), Size: int64(len(p))}
	}
	m := golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: golden.ArtifactType,
		Config: descriptor(golden.MediaTypeConfig, []byte(`{}`)),
		Layers: []golden.Descriptor{descriptor(golden.MediaTypeDisk, disk), descriptor(golden.MediaTypeChunks, []byte("chunks"))},
	}
	p, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.names["debian"] = s.add(p)
	return s
}

// plainScripts are readable instead of bootable.
func plainScripts() Scripts {
	return Scripts{
		Chain:     func(url string) ([]byte, error) { return []byte("chain " + url), nil },
		LocalDisk: func(why string) []byte { return []byte("local: " + why) },
		Boot: func(kernel, initrd, cmdline, _, again string) ([]byte, error) {
			return fmt.Appendf(nil, "%s\n%s\n%s\n%s", kernel, initrd, cmdline, again), nil
		},
	}
}

// serve runs the boot handler on a real connection.
func serve(t *testing.T, machines Machines, images *memImages) string {
	t.Helper()
	b := Boot{
		BaseURL: "http://192.0.2.1", Machines: machines, Images: images, Specs: images, Scripts: plainScripts(),
		NBP: func(name string) (io.ReadSeekCloser, error) {
			if name != "snponly.efi" {
				return nil, fs.ErrNotExist
			}
			return memFile{bytes.NewReader([]byte("nbp"))}, nil
		},
	}
	srv := httptest.NewServer(b.Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}
