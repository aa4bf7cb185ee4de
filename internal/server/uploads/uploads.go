// Package uploads takes in the images that operators send.
package uploads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Uploads stores images. Its refusals are the typed errors of fleet.
type Uploads struct {
	Store *store.Store
	// Describe is what a list shows of an image.
	Describe func(ctx context.Context, name string) (api.Image, error)
	// Note enters into the log what was done.
	Note func(ctx context.Context, e api.Event) error
}

// Received tells how far a blob has come.
func (u *Uploads) Received(_ context.Context, digest string) (api.Blob, error) {
	d, err := parse(digest)
	if err != nil {
		return api.Blob{}, err
	}
	n, whole, err := u.Store.Uploads().Received(d)
	return api.Blob{Digest: digest, Received: n, Whole: whole}, err
}

// Receive appends what r gives to a blob of size bytes, from offset on. What
// has arrived is kept for a day, also when r fails.
func (u *Uploads) Receive(ctx context.Context, digest string, size, offset int64, r io.Reader) (api.Blob, error) {
	d, err := parse(digest)
	if err != nil {
		return api.Blob{}, err
	}
	if _, err := u.Store.Uploads().Receive(d, size, offset, r); err != nil {
		return api.Blob{}, refusal(err)
	}
	return u.Received(ctx, digest)
}

// Add gives the image of a manifest its name. Its blobs have been received, or
// are stored.
func (u *Uploads) Add(ctx context.Context, actor, name string, manifest []byte) (api.StoredImage, error) {
	if err := store.CheckName(name); err != nil {
		return api.StoredImage{}, &fleet.InvalidError{Problem: err.Error(), Help: "give it another name"}
	}
	if _, err := golden.ParseManifest(manifest); err != nil {
		return api.StoredImage{}, &fleet.InvalidError{Problem: err.Error(), Help: "send the manifest that gild image add has made"}
	}
	_, before, err := u.Store.Uploads().Commit(ctx, name, manifest)
	return u.added(ctx, actor, name, before, err)
}

// Alias gives a stored image one name more.
func (u *Uploads) Alias(ctx context.Context, actor, name, from string) (api.StoredImage, error) {
	if err := store.CheckName(name); err != nil {
		return api.StoredImage{}, &fleet.InvalidError{Problem: err.Error(), Help: "give it another name"}
	}
	_, before, err := u.Store.Uploads().Alias(ctx, name, from)
	if errors.Is(err, store.ErrNotFound) {
		err = &fleet.UnknownError{What: "image", Name: from, Help: "gild image ls shows the stored ones"}
	}
	return u.added(ctx, actor, name, before, err)
}

// added is what is said of an image that was stored.
func (u *Uploads) added(ctx context.Context, actor, name string, before golden.Digest, err error) (api.StoredImage, error) {
	if err != nil {
		return api.StoredImage{}, refusal(err)
	}
	image, err := u.Describe(ctx, name)
	if err != nil {
		return api.StoredImage{}, err
	}
	out := api.StoredImage{Image: image}
	text := fmt.Sprintf("image %.120q was stored: %s", name, golden.Digest(image.Digest).Short())
	if before != "" && string(before) != image.Digest {
		out.Replaced = string(before)
		text += ", in the place of " + before.Short()
	}
	return out, u.Note(ctx, api.Event{Time: time.Now(), Step: "image", State: api.StateDone, Actor: actor, Message: text})
}

func parse(digest string) (golden.Digest, error) {
	d, err := golden.ParseDigest(digest)
	if err != nil {
		return "", &fleet.InvalidError{Problem: err.Error(), Help: "name a blob by the SHA-256 of its bytes: sha256:..."}
	}
	return d, nil
}

// refusal says what the sender can do about an error of the store.
func refusal(err error) error {
	switch {
	case errors.Is(err, store.ErrOffset), errors.Is(err, store.ErrBusy):
		return &fleet.ConflictError{Problem: err.Error(), Help: "ask how far the blob has come, and go on from there"}
	case errors.Is(err, store.ErrMissing):
		return &fleet.ConflictError{Problem: err.Error(), Help: "send it first"}
	case errors.Is(err, store.ErrDigest):
		return &fleet.InvalidError{Problem: err.Error(), Help: "send it again from its beginning"}
	}
	return err
}
