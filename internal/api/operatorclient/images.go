package operatorclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Images are those that a server has stored.
type Images struct{ client *Client }

// Images are those of this server.
func (c *Client) Images() Images { return Images{c} }

// List lists them by name.
func (i Images) List(ctx context.Context) ([]api.Image, error) {
	var out api.Images
	err := i.client.call(ctx, http.MethodGet, api.PathImages, nil, &out)
	return out.Images, err
}

// Details returns all that is known of one image, by name or digest.
func (i Images) Details(ctx context.Context, name string) (api.ImageDetails, error) {
	var out api.ImageDetails
	err := i.client.call(ctx, http.MethodGet, imagePath(name), nil, &out)
	return out, err
}

// Verify has the server compare every byte of an image with its hash, and
// calls progress with each line of its answer; nil: nobody is told. It returns
// what is damaged or missing; empty: nothing is.
func (i Images) Verify(ctx context.Context, name string, progress func(api.Verification)) (damage string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(maxSilence, cancel)
	defer silent.Stop()
	path := strings.Replace(api.PathVerify, "{image}", url.PathEscape(name), 1)
	resp, err := i.client.do(ctx, http.MethodPost, path, nil, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var at api.Verification
		if err := lines.Decode(&at); err != nil {
			return "", fmt.Errorf("reading the answer to POST %s: %w", path, cmp.Or(notEOF(err), io.ErrUnexpectedEOF))
		}
		silent.Reset(maxSilence)
		if at.Ended {
			return at.Error, nil
		}
		if progress != nil {
			progress(at)
		}
	}
}

// notEOF is err, unless that says that nothing more comes.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Remove removes all images or none; force: also those that something
// names. A *ProblemError of 409 says what does.
func (i Images) Remove(ctx context.Context, names []string, force bool) ([]api.RemovedImage, error) {
	var out api.RemovedImages
	query := url.Values{"name": names}
	if force {
		query.Set("force", "true")
	}
	err := i.client.call(ctx, http.MethodDelete, api.PathImages+"?"+query.Encode(), nil, &out)
	return out.Removed, err
}

// Uploads sends images to a server.
type Uploads struct{ client *Client }

// Uploads are those to this server.
func (c *Client) Uploads() Uploads { return Uploads{c} }

// Blob tells how far a blob has come that is being sent.
func (u Uploads) Blob(ctx context.Context, digest string) (api.Blob, error) {
	var out api.Blob
	err := u.client.call(ctx, http.MethodGet, blobPath(digest), nil, &out)
	return out, err
}

// Send sends the rest of a blob of size bytes, from offset on. A call that
// fails may have brought some of it: Blob tells how much.
func (u Uploads) Send(ctx context.Context, digest string, size, offset int64, rest io.Reader) (api.Blob, error) {
	query := url.Values{"size": {strconv.FormatInt(size, 10)}, "offset": {strconv.FormatInt(offset, 10)}}
	return send[api.Blob](ctx, u.client, blobPath(digest)+"?"+query.Encode(), rest)
}

// Add gives the image of a manifest, whose blobs were sent, its name.
func (u Uploads) Add(ctx context.Context, name string, manifest []byte) (api.StoredImage, error) {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	return send[api.StoredImage](ctx, u.client, imagePath(name), bytes.NewReader(manifest))
}

// Alias gives a stored image one name more.
func (u Uploads) Alias(ctx context.Context, name, from string) (api.StoredImage, error) {
	var out api.StoredImage
	path := strings.Replace(api.PathAliases, "{image}", url.PathEscape(from), 1)
	err := u.client.call(ctx, http.MethodPost, path, api.Alias{Name: name}, &out)
	return out, err
}

// send puts bytes to a path.
func send[T any](ctx context.Context, c *Client, path string, body io.Reader) (out T, err error) {
	resp, err := c.do(ctx, http.MethodPut, path, body, http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out); err != nil {
		return out, fmt.Errorf("reading the answer to PUT %s: %w", path, err)
	}
	return out, nil
}

func imagePath(name string) string {
	return strings.Replace(api.PathImage, "{image}", url.PathEscape(name), 1)
}

func blobPath(digest string) string {
	return strings.Replace(api.PathBlob, "{digest}", url.PathEscape(digest), 1)
}
