// Package registry gives stored images to whoever pulls from an OCI registry.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/door/reply"
)

// Images is the store as it is pulled from. What is not stored MUST be an error
// that is fs.ErrNotExist.
type Images interface {
	// Resolve returns the digest of the manifest that the name stands for now.
	Resolve(ctx context.Context, name string) (golden.Digest, error)
	// Blob opens any stored content, manifests too. The caller closes it.
	Blob(ctx context.Context, d golden.Digest) (io.ReadSeekCloser, error)
}

// Door answers the pull half of the OCI distribution specification v1.1
// ("Pulling", end-1 to end-3 and end-8a): each stored image is the repository
// golden/NAME with the one tag "latest".
type Door struct {
	Images Images       // must be set
	Log    *slog.Logger // nil: discard
}

const latest = "latest"

// Route implements [door.Door].
func (d *Door) Route(mux *http.ServeMux) {
	d = &Door{Images: d.Images, Log: cmp.Or(d.Log, slog.New(slog.DiscardHandler))}
	handle := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			// Not in the OCI specification, but what old Docker clients look for.
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			h(w, r)
		})
	}
	handle("GET /v2", d.base)
	handle("GET /v2/{$}", d.base)
	handle("GET /v2/golden/{name}/manifests/{reference}", d.manifest)
	handle("GET /v2/golden/{name}/blobs/{digest}", d.blob)
	handle("GET /v2/golden/{name}/tags/list", d.tags)
	handle("/v2/", d.other)
}

func (d *Door) base(w http.ResponseWriter, _ *http.Request) { reply.JSON(w, struct{}{}) }

func (d *Door) manifest(w http.ResponseWriter, r *http.Request) {
	name, ref := r.PathValue("name"), r.PathValue("reference")
	digest, err := golden.ParseDigest(ref)
	if err != nil {
		if ref != latest {
			registryError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "an image has one tag, latest")
			return
		}
		if digest, err = d.Images.Resolve(r.Context(), name); err != nil {
			d.fail(w, r, err, "NAME_UNKNOWN", "no image of this name is stored")
			return
		}
	}
	f, err := d.Images.Blob(r.Context(), digest)
	if err != nil {
		d.fail(w, r, err, "MANIFEST_UNKNOWN", "no such manifest is stored")
		return
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, golden.MaxManifestSize+1))
	if err != nil {
		d.fail(w, r, err, "MANIFEST_UNKNOWN", "")
		return
	}
	// A blob that is no manifest must not be had from here: a client would
	// take it for one.
	m, err := golden.ParseManifest(p)
	if err != nil {
		registryError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "the digest is not that of a manifest")
		return
	}
	w.Header().Set("Content-Type", m.MediaType)
	w.Header().Set("Docker-Content-Digest", string(digest))
	w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	w.Header().Set("ETag", `"`+string(digest)+`"`)
	_, _ = w.Write(p)
}

func (d *Door) blob(w http.ResponseWriter, r *http.Request) {
	digest, err := golden.ParseDigest(r.PathValue("digest"))
	if err != nil {
		registryError(w, http.StatusBadRequest, "DIGEST_INVALID", err.Error())
		return
	}
	f, err := d.Images.Blob(r.Context(), digest)
	if err != nil {
		d.fail(w, r, err, "BLOB_UNKNOWN", "no such blob is stored")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", string(digest))
	reply.File(w, r, f, string(digest))
}

func (d *Door) tags(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, err := d.Images.Resolve(r.Context(), name); err != nil {
		d.fail(w, r, err, "NAME_UNKNOWN", "no image of this name is stored")
		return
	}
	list := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{"golden/" + name, []string{latest}}
	q := r.URL.Query()
	if q.Get("n") == "0" || q.Get("last") >= latest {
		list.Tags = []string{}
	}
	reply.JSON(w, list)
}

// other answers everything under /v2/ that is not pulling.
func (d *Door) other(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		registryError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "images are added with gild image add")
		return
	}
	registryError(w, http.StatusNotFound, "NAME_UNKNOWN", "images are under golden/")
}

func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error, code, message string) {
	if errors.Is(err, fs.ErrNotExist) {
		registryError(w, http.StatusNotFound, code, message)
		return
	}
	if r.Context().Err() == nil {
		d.Log.Error("pull failed", "path", r.URL.Path, "client", r.RemoteAddr, "err", err)
	}
	w.Header().Set("Retry-After", "5")
	registryError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the server's log says why; try again")
}

// registryError answers in the form of the specification, "Error Codes".
func registryError(w http.ResponseWriter, status int, code, message string) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Errors []one `json:"errors"`
	}{[]one{{code, message}}})
}
