package operators

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/door/reply"
)

// Uploads takes images in. Refusals are the typed errors of fleet.
type Uploads interface {
	Received(ctx context.Context, digest string) (api.Blob, error)
	// Receive appends to a blob; what has arrived when r fails stays.
	Receive(ctx context.Context, digest string, size, offset int64, r io.Reader) (api.Blob, error)
	Add(ctx context.Context, actor, name string, manifest []byte) (api.StoredImage, error)
	Alias(ctx context.Context, actor, name, from string) (api.StoredImage, error)
}

type (
	addInput struct {
		Name    string `path:"image" doc:"name that the image gets" maxLength:"100"`
		RawBody []byte
	}
	aliasInput struct {
		Name string `path:"image" doc:"name of a stored image, or its digest" maxLength:"128"`
		Body api.Alias
	}
	blobInput struct {
		Digest string `path:"digest" doc:"SHA-256 of the blob: sha256:..." maxLength:"80"`
	}
	pieceInput struct {
		Digest string `path:"digest" doc:"SHA-256 of the blob: sha256:..." maxLength:"80"`
		Size   int64  `query:"size" required:"true" minimum:"1" doc:"bytes of the whole blob"`
		Offset int64  `query:"offset" minimum:"0" doc:"bytes of it that the server has already"`
	}
)

// uploads registers how an image comes to the server: its blobs, in as many
// pieces as it takes, then its manifest, which gives it the name.
func (d *Door) uploads(r operations) {
	add := operation(http.MethodPut, api.PathImage, "add-image", "Give an image whose blobs were sent its name")
	add.MaxBodyBytes = golden.MaxManifestSize
	huma.Register(r.api, add, func(ctx context.Context, in *addInput) (*body[api.StoredImage], error) {
		stored, err := d.Uploads.Add(ctx, actor(ctx), in.Name, in.RawBody)
		return &body[api.StoredImage]{stored}, r.problem(ctx, err)
	})
	handle(r, http.MethodPost, api.PathAliases, "alias-image", "Give a stored image one name more",
		func(ctx context.Context, in *aliasInput) (api.StoredImage, error) {
			return d.Uploads.Alias(ctx, actor(ctx), in.Body.Name, in.Name)
		})
	handle(r, http.MethodGet, api.PathBlob, "get-blob", "How much of a blob has arrived",
		func(ctx context.Context, in *blobInput) (api.Blob, error) {
			return d.Uploads.Received(ctx, in.Digest)
		})
	d.pieces(r)
}

// pieces registers the one request whose body is as long as it takes.
func (d *Door) pieces(r operations) {
	op := operation(http.MethodPut, api.PathBlob, "send-blob", "Send bytes of a blob; those that arrive stay, for a day")
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}
	blob := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Blob](), true, "Blob")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "How much has arrived.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: blob}},
	}}
	huma.Register(r.api, op, func(ctx context.Context, in *pieceInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			req, w := humago.Unwrap(hc)
			blob, err := d.Uploads.Receive(ctx, in.Digest, in.Size, in.Offset, &patient{r: req.Body, ctl: http.NewResponseController(w)})
			if refused, ok := errors.AsType[huma.StatusError](r.problem(ctx, err)); ok {
				_ = huma.WriteErr(r.api, hc, refused.GetStatus(), refused.Error())
				return
			}
			reply.JSON(w, blob)
		}}, nil
	})
}

// A sender of a blob may be as slow as piece bytes in pieceTime (4 kB/s); one
// that is cut resumes where it was.
const (
	piece     = 256 << 10
	pieceTime = 60 * time.Second
)

// patient reads a body for as long as enough of it comes.
type patient struct {
	r    io.Reader
	ctl  *http.ResponseController
	left int // bytes until the next deadline
}

func (p *patient) Read(b []byte) (int, error) {
	// A test recorder has no deadlines; every real connection has. The answer
	// comes after the last byte, and after a look at all of them.
	if p.left <= 0 {
		_ = p.ctl.SetReadDeadline(time.Now().Add(pieceTime))
		_ = p.ctl.SetWriteDeadline(time.Now().Add(checked))
		p.left = piece
	}
	n, err := p.r.Read(b)
	p.left -= n
	return n, err
}

// checked is how long a blob that has arrived may take to be read again.
const checked = 30 * time.Minute
