package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

// destination is where an image is stored that is packed here: in the data
// directory, or in a store of its own that is sent to a server.
type destination struct {
	commands
	store  *store.Store
	server *operatorclient.Client // nil: the data directory
	dir    string                 // of its own; empty: none
	before golden.Digest          // what had the name in the data directory
}

// newDestination finds where an image goes that is to have the name.
func newDestination(ctx context.Context, a commands, name string) (d *destination, err error) {
	d = &destination{commands: a}
	if !remote(a.App) {
		if d.store, err = a.OpenStore(); err != nil {
			return nil, err
		}
		if d.before, err = d.store.Resolve(name); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return d, nil
	}
	if d.server, err = a.Operator(); err != nil {
		return nil, err
	}
	// Before minutes of packing: is it there, and may we?
	if _, err := d.server.Images().List(ctx); err != nil {
		return nil, a.Reached(err)
	}
	if d.dir, err = os.MkdirTemp("", "gild-image-"); err != nil {
		return nil, fmt.Errorf("packing the image: %w", err)
	}
	if d.store, err = store.Open(d.dir); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *destination) close() {
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// deliver sends what was packed where that is not its place yet. It returns the
// digest of the image that had the name before; empty: none had.
func (d *destination) deliver(ctx context.Context, name string) (before golden.Digest, err error) {
	if d.server == nil {
		return d.before, nil
	}
	im, err := d.store.Image(name)
	if err != nil {
		return "", err
	}
	manifest, err := d.store.ReadBlob(im.Digest, golden.MaxManifestSize)
	if err != nil {
		return "", err
	}
	parts := append([]golden.Descriptor{im.Manifest.Config}, im.Manifest.Layers...)
	total := int64(0)
	for _, part := range parts {
		total += part.Size
	}
	bar := d.Bar("sending "+name, total)
	defer bar.Done()
	sent := int64(0)
	for _, part := range parts {
		if err := d.send(ctx, part, bar, sent); err != nil {
			return "", d.Reached(err)
		}
		sent += part.Size
	}
	stored, err := d.server.Uploads().Add(ctx, name, manifest)
	return golden.Digest(stored.Replaced), d.Reached(err)
}

// patience is how long a blob is sent again of which nothing more arrives.
const patience = 5 * time.Minute

// send sends what the server has not of a blob, from where it was cut.
func (d *destination) send(ctx context.Context, part golden.Descriptor, bar *term.Bar, before int64) error {
	f, err := d.store.OpenBlob(part.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	wait, arrived, since := backoff.Backoff{Longest: 10 * time.Second}, int64(-1), time.Now()
	for {
		blob, err := d.server.Uploads().Blob(ctx, string(part.Digest))
		if err == nil && blob.Whole {
			bar.Set(before + part.Size)
			return nil
		}
		if err == nil {
			if blob.Received > arrived {
				arrived, since = blob.Received, time.Now()
				wait.Reset()
			}
			bar.Set(before + blob.Received)
			rest := io.NewSectionReader(f, blob.Received, part.Size-blob.Received)
			_, err = d.server.Uploads().Send(ctx, string(part.Digest), part.Size, blob.Received, &counted{rest, bar, before + blob.Received})
		}
		if err != nil && (!again(err) || ctx.Err() != nil || time.Since(since) > patience) {
			return err
		}
		if err != nil {
			bar.Note("cut, going on: " + err.Error())
			if err := backoff.Sleep(ctx, wait.Next()); err != nil {
				return err
			}
		}
	}
}

// again reports whether a request may succeed when it is made again.
func again(err error) bool {
	if said, ok := errors.AsType[*operatorclient.ProblemError](err); ok {
		return said.Status == http.StatusConflict || said.Status == http.StatusServiceUnavailable
	}
	_, transport := errors.AsType[*url.Error](err)
	_, distrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return transport && !distrusted
}

// counted is a body that moves a bar as it is read.
type counted struct {
	r   io.Reader
	bar *term.Bar
	at  int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.at += int64(n)
	c.bar.Set(c.at)
	return n, err
}
