// Package oci pulls parts of images from OCI registries.
//
// Every call is one attempt with its own time limit; whether and when to ask
// again is the caller's knowledge.
package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api/cluster"
)

// pullTimeout bounds one whole small part (manifest, config, chunk table).
const pullTimeout = 10 * time.Minute

// manifestType is what an OCI registry must be told to hand out an image
// manifest as it is (distribution-spec v1.1, "Pulling manifests").
const manifestType = "application/vnd.oci.image.manifest.v1+json"

// Registry is one OCI registry, or those of a cluster, asked one after the
// other. Safe for concurrent use.
type Registry struct{ servers *cluster.Servers }

// Of gives the registry that servers are.
func Of(servers *cluster.Servers) *Registry { return &Registry{servers} }

// Manifest pulls a manifest of at most limit bytes by its digest and checks
// that it is the one.
func (r *Registry) Manifest(ctx context.Context, repository, digest string, limit int64) ([]byte, error) {
	return r.pull(ctx, "/v2/"+repository+"/manifests/"+digest, digest, -1, limit)
}

// Resolve gives the digest of the manifest that a tag stands for now, or that
// of a digest again. It is computed from the manifest itself: a registry's own
// word for it is optional.
func (r *Registry) Resolve(ctx context.Context, repository, reference string, limit int64) (string, error) {
	body, err := r.get(ctx, "/v2/"+repository+"/manifests/"+reference, limit)
	if err != nil {
		return "", err
	}
	return digestOf(body), nil
}

// Blob pulls a whole blob into memory: its size in bytes, known from the
// manifest, and its digest are checked.
func (r *Registry) Blob(ctx context.Context, repository, digest string, size int64) ([]byte, error) {
	return r.pull(ctx, blobPath(repository, digest), digest, size, size)
}

func blobPath(repository, digest string) string { return "/v2/" + repository + "/blobs/" + digest }

// pull gets one part. A negative size means that it is not known before.
func (r *Registry) pull(ctx context.Context, path, digest string, size, limit int64) ([]byte, error) {
	body, err := r.get(ctx, path, limit)
	if err != nil {
		return nil, err
	}
	if size >= 0 && int64(len(body)) != size {
		return nil, fmt.Errorf("GET %s: %d bytes came, the manifest says %d", path, len(body), size)
	}
	if got := digestOf(body); got != digest {
		return nil, fmt.Errorf("GET %s: what came hashes to %s", path, got)
	}
	return body, nil
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// get reads a whole small part of at most limit bytes.
func (r *Registry) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	resp, err := r.servers.Any(func(base *url.URL) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", path, err)
		}
		req.Header.Set("Accept", manifestType+", application/octet-stream")
		return r.servers.Do(req, http.StatusOK)
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := cluster.ReadBounded(resp.Body, limit)
	if err != nil {
		r.servers.Failed(resp.Request.URL)
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return body, nil
}

// Open opens a whole blob of size bytes, for what is too long for memory. The
// caller checks what comes, and closes it.
func (r *Registry) Open(ctx context.Context, repository, digest string, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	body, err := r.Ranges(repository, digest, size).ReadRange(ctx, 0, size)
	if err != nil {
		cancel()
		return nil, err
	}
	return &boundedBody{body, cancel}, nil
}

// boundedBody ends its request when it is closed.
type boundedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Ranges reads parts of one blob, each with its own request.
type Ranges struct {
	servers *cluster.Servers
	path    string
	size    int64
}

// Ranges names a blob of size bytes.
func (r *Registry) Ranges(repository, digest string, size int64) *Ranges {
	return &Ranges{servers: r.servers, path: blobPath(repository, digest), size: size}
}

// ReadRange opens length bytes of the blob from off. A server that sends
// another range than was asked for is refused here, and a body that ends
// early gives io.ErrUnexpectedEOF: io.EOF comes after the last byte only. The
// request lives as long as ctx; the caller closes the body.
func (r *Ranges) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	if off < 0 || length <= 0 || off > r.size || length > r.size-off {
		return nil, fmt.Errorf("GET %s: %d bytes from %d are not inside a blob of %d", r.path, length, off, r.size)
	}
	// The whole blob is an acceptable answer only when all of it was asked for.
	want := []int{http.StatusPartialContent}
	if off == 0 && length == r.size {
		want = append(want, http.StatusOK)
	}
	resp, err := r.servers.Any(func(base *url.URL) (*http.Response, error) { //nolint:bodyclose // closed below, or by who gets it
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(r.path).String(), nil)
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", r.path, err)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+length-1))
		return r.servers.Do(req, want...)
	})
	if err != nil {
		return nil, err
	}
	if err := r.check(resp, off, length); err != nil {
		resp.Body.Close()
		r.servers.Failed(resp.Request.URL)
		return nil, fmt.Errorf("GET %s: %w", r.path, err)
	}
	failed := func() { r.servers.Failed(resp.Request.URL) }
	return &exactBody{body: resp.Body, left: length, failed: failed}, nil
}

func (r *Ranges) check(resp *http.Response, off, length int64) error {
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fmt.Errorf("the body is encoded (%.40q): something between here and the server rewrites it", encoding)
	}
	if resp.StatusCode == http.StatusPartialContent {
		// RFC 9110, 14.4. A total of "*" is allowed: the manifest knows it.
		got, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/")
		want := fmt.Sprintf("bytes %d-%d", off, off+length-1)
		if !ok || got != want || total != "*" && total != fmt.Sprint(r.size) {
			return fmt.Errorf("asked for %s/%d, the server sent %.80q", want, r.size, resp.Header.Get("Content-Range"))
		}
	}
	if resp.ContentLength >= 0 && resp.ContentLength != length {
		return fmt.Errorf("asked for %d bytes, the server sends %d", length, resp.ContentLength)
	}
	return nil
}

// exactBody gives exactly left bytes, or tells that the server failed. A server
// that falls silent is found by the reader, who then ends the request.
type exactBody struct {
	body   io.ReadCloser
	left   int64
	failed func()
}

func (b *exactBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF {
		if err = io.ErrUnexpectedEOF; b.left == 0 {
			err = nil // said by the next Read
		}
	}
	if err != nil {
		b.failed()
	}
	return n, err
}

func (b *exactBody) Close() error { return b.body.Close() }
