package operators

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Inspector looks closely at one stored image, by name or digest. What is not
// stored MUST be an error that is fs.ErrNotExist.
type Inspector interface {
	// Resolve returns the digest of the manifest that a name stands for.
	Resolve(ctx context.Context, name string) (golden.Digest, error)
	Details(ctx context.Context, name string) (api.ImageDetails, error)
	// Verify compares every byte with its hash until ctx ends. progress is
	// called from one goroutine.
	Verify(ctx context.Context, name string, progress func(done, total int64)) error
}

type (
	imageInput struct {
		Name string `path:"image" doc:"name of a stored image, or its digest" maxLength:"128"`
	}
	removeInput struct {
		Names []string `query:"name,explode" required:"true" minItems:"1" maxItems:"1000" doc:"names of images, each as a parameter of its own: all are removed, or none"`
		Force bool     `query:"force" doc:"also while a machine, a group or --discover names one"`
	}
)

// images registers what is asked of the images that are stored.
func (d *Door) images(r operations) {
	handle(r, http.MethodGet, api.PathImages, "list-images", "All stored images", func(ctx context.Context, _ *struct{}) (api.Images, error) {
		images, err := d.Images.List(ctx)
		return api.Images{Images: orEmpty(images)}, err
	})
	handle(r, http.MethodDelete, api.PathImages, "remove-images", "Remove images",
		func(ctx context.Context, in *removeInput) (api.RemovedImages, error) {
			removed, err := d.Control.RemoveImages(ctx, actor(ctx), in.Names, in.Force)
			return api.RemovedImages{Removed: orEmpty(removed)}, err
		})
	if d.Inspector == nil {
		return
	}
	handle(r, http.MethodGet, api.PathImage, "get-image", "One stored image",
		func(ctx context.Context, in *imageInput) (api.ImageDetails, error) {
			image, err := d.Inspector.Details(ctx, in.Name)
			return image, unknownImage(in.Name, err)
		})
	op := operation(http.MethodPost, api.PathVerify, "verify-image",
		"Compare every byte of an image with its hash; one line of JSON a second, the last one has ended")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Lines of JSON, each a Verification.",
		Content: map[string]*huma.MediaType{
			typeLines: {Schema: r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Verification](), true, "Verification")},
		},
	}}
	huma.Register(r.api, op, func(ctx context.Context, in *imageInput) (*huma.StreamResponse, error) {
		if _, err := d.Inspector.Resolve(ctx, in.Name); err != nil {
			return nil, r.problem(ctx, unknownImage(in.Name, err))
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			req, w := humago.Unwrap(hc)
			d.verify(req, w, in.Name)
		}}, nil
	})
}

// unknownImage puts into the operator's words that an image is not stored.
func unknownImage(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &fleet.UnknownError{What: "image", Name: name, Help: "gild image ls shows the stored ones"}
	}
	return err
}

const typeLines = "application/x-ndjson"

// often is how often a verification says how far it is: a sign of life too, for
// proxies and for the one who asked.
const often = time.Second

// verify answers with lines, until the image was read or its reader has gone.
func (d *Door) verify(r *http.Request, w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", typeLines)
	w.Header().Set("Cache-Control", "no-store")
	out := &eventWriter{w: w, ctl: http.NewResponseController(w)}
	var at atomic.Pointer[api.Verification]
	at.Store(&api.Verification{})
	ctx, stop := beat(r.Context(), often, func() error { return out.line(at.Load()) })
	defer stop()
	err := d.Inspector.Verify(ctx, name, func(done, total int64) { at.Store(&api.Verification{Done: done, Total: total}) })
	if ctx.Err() != nil {
		return // the reader has gone, or the server stops: nothing was found out
	}
	stop()
	last := *at.Load()
	if last.Ended = true; err != nil {
		last.Error = err.Error()
	}
	_ = out.line(last)
}

// line writes one value as a line of JSON.
func (e *eventWriter) line(v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.write(string(p) + "\n")
}
