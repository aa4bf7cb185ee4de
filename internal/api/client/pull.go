package client

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

	"github.com/gild-dev/gild/internal/golden"
)

// pullTimeout bounds one whole small part (manifest, config, chunk table).
const pullTimeout = 10 * time.Minute

// manifestType is what an OCI registry must be told to hand out an image
// manifest as it is (distribution-spec v1.1, "Pulling manifests").
const manifestType = "application/vnd.oci.image.manifest.v1+json"

// Manifest pulls a manifest of at most limit bytes by its digest and checks
// that it is the one.
func (c *Client) Manifest(ctx context.Context, repository, digest string, limit int64) ([]byte, error) {
	return c.pull(ctx, "/v2/"+repository+"/manifests/"+digest, digest, -1, limit)
}

// Resolve gives the digest of the manifest that a tag stands for now, or that
// of a digest again. It is computed from the manifest itself: a registry's own
// word for it is optional.
func (c *Client) Resolve(ctx context.Context, repository, reference string) (golden.Digest, error) {
	body, err := c.get(ctx, "/v2/"+repository+"/manifests/"+reference, golden.MaxManifestSize)
	if err != nil {
		return "", err
	}
	return golden.DigestOf(body), nil
}

// Blob pulls a whole blob into memory: its size in bytes, known from the
// manifest, and its digest are checked.
func (c *Client) Blob(ctx context.Context, repository, digest string, size int64) ([]byte, error) {
	return c.pull(ctx, blobPath(repository, digest), digest, size, size)
}

func blobPath(repository, digest string) string { return "/v2/" + repository + "/blobs/" + digest }

// pull gets one part. A negative size means that it is not known before.
func (c *Client) pull(ctx context.Context, path, digest string, size, limit int64) ([]byte, error) {
	body, err := c.get(ctx, path, limit)
	if err != nil {
		return nil, err
	}
	if size >= 0 && int64(len(body)) != size {
		return nil, fmt.Errorf("GET %s: %d bytes came, the manifest says %d", path, len(body), size)
	}
	sum := sha256.Sum256(body)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return nil, fmt.Errorf("GET %s: what came hashes to %s", path, got)
	}
	return body, nil
}

// get reads a whole small part of at most limit bytes.
func (c *Client) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	resp, err := c.anyServer(func(base *url.URL) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", path, err)
		}
		req.Header.Set("Accept", manifestType+", application/octet-stream")
		return c.do(req, http.StatusOK)
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readBounded(resp.Body, limit)
	if err != nil {
		c.servers.failed(resp.Request.URL)
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return body, nil
}

// Image pulls everything small of an image, its chunk table included, and
// checks all of it against the digest.
func (c *Client) Image(ctx context.Context, repository string, digest golden.Digest) (*golden.Image, error) {
	raw, err := c.Manifest(ctx, repository, string(digest), golden.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := golden.ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	config, err := c.Blob(ctx, repository, string(m.Config.Digest), m.Config.Size)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Layer(golden.MediaTypeChunks)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	// Not through memory: the table of a large disk is long.
	table, err := c.Ranges(repository, string(chunks.Digest), chunks.Size).ReadRange(ctx, 0, chunks.Size)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	return golden.NewImage(digest, raw, config, table)
}

// Ranges reads parts of one blob, each with its own request.
type Ranges struct {
	client *Client
	path   string
	size   int64
}

// Ranges names a blob of size bytes.
func (c *Client) Ranges(repository, digest string, size int64) *Ranges {
	return &Ranges{client: c, path: blobPath(repository, digest), size: size}
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
	resp, err := r.client.anyServer(func(base *url.URL) (*http.Response, error) { //nolint:bodyclose // closed below, or by who gets it
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(r.path).String(), nil)
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", r.path, err)
		}
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+length-1))
		return r.client.do(req, want...)
	})
	if err != nil {
		return nil, err
	}
	if err := r.check(resp, off, length); err != nil {
		resp.Body.Close()
		r.client.servers.failed(resp.Request.URL)
		return nil, fmt.Errorf("GET %s: %w", r.path, err)
	}
	failed := func() { r.client.servers.failed(resp.Request.URL) }
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
