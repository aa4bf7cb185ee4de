// Command ociimage makes an OCI image of one program without a daemon.
//
// It is a layout in a tar archive, which podman, docker or skopeo loads.
//
//	ociimage -o FILE.tar -tag TAG ARCH=PROGRAM...
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	_ "crypto/sha256" // of digests
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

func main() {
	out := flag.String("o", "", "`file` to write")
	tag := flag.String("tag", "latest", "`name` of the image in the layout")
	flag.Parse()
	if err := run(context.Background(), *out, *tag, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, tag string, programs []string) error {
	seconds, err := strconv.ParseInt(cmp.Or(os.Getenv("SOURCE_DATE_EPOCH"), "0"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	dir, err := os.MkdirTemp("", "ociimage")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return err
	}
	b := builder{store, time.Unix(seconds, 0).UTC()}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, p := range programs {
		arch, path, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=PROGRAM", p)
		}
		manifest, err := b.image(ctx, arch, path)
		if err != nil {
			return fmt.Errorf("the image for %s: %w", arch, err)
		}
		index.Manifests = append(index.Manifests, manifest)
	}
	root, err := b.pushJSON(ctx, v1.MediaTypeImageIndex, index)
	if err != nil {
		return err
	}
	if err := list(dir, root, tag); err != nil {
		return err
	}
	return archive(out, dir, b.made)
}

// list makes one image all that the layout lists; the store lists its parts as
// well, among which a loader would have to choose.
func list(dir string, root v1.Descriptor, tag string) error {
	root.Annotations = map[string]string{v1.AnnotationRefName: tag}
	p, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{root}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, v1.ImageIndexFile), p, 0o644)
}

// builder makes images whose files are all of one time.
type builder struct {
	store *oci.Store
	made  time.Time
}

// image is the program at /usr/bin/gild, run as root of its container: ports
// below 1024 and raw sockets are what it is given besides.
func (b builder) image(ctx context.Context, arch, program string) (v1.Descriptor, error) {
	layer, err := b.layer(program)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is one
	if _, err := w.Write(layer); err != nil {
		return v1.Descriptor{}, err
	}
	if err := w.Close(); err != nil {
		return v1.Descriptor{}, err
	}
	platform := v1.Platform{Architecture: arch, OS: "linux"}
	config := v1.Image{
		Created:  &b.made,
		Platform: platform,
		Config: v1.ImageConfig{
			Entrypoint: []string{"/usr/bin/gild"},
			Cmd:        []string{"serve"},
			Env:        []string{"GILD_DATA=/var/lib/gild", "PATH=/usr/bin"},
			Volumes:    map[string]struct{}{"/var/lib/gild": {}},
			Labels:     map[string]string{v1.AnnotationTitle: "gild", v1.AnnotationLicenses: "Apache-2.0"},
		},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	if manifest.Config, err = b.pushJSON(ctx, v1.MediaTypeImageConfig, config); err != nil {
		return v1.Descriptor{}, err
	}
	blob, err := b.push(ctx, v1.MediaTypeImageLayerGzip, packed.Bytes())
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest.Layers = []v1.Descriptor{blob}
	desc, err := b.pushJSON(ctx, v1.MediaTypeImageManifest, manifest)
	desc.Platform = &platform
	return desc, err
}

// layer is a tar archive with the program and the directories that it needs.
func (b builder) layer(program string) ([]byte, error) {
	p, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []struct {
		name string
		mode int64
	}{{"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/bin/", 0o755}, {"var/", 0o755}, {"var/lib/", 0o755}, {"var/lib/gild/", 0o755}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode, ModTime: b.made}); err != nil {
			return nil, err
		}
	}
	head := &tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/gild", Mode: 0o755, Size: int64(len(p)), ModTime: b.made}
	if err := w.WriteHeader(head); err != nil {
		return nil, err
	}
	if _, err := w.Write(p); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (b builder) pushJSON(ctx context.Context, mediaType string, v any) (v1.Descriptor, error) {
	p, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return b.push(ctx, mediaType, p)
}

func (b builder) push(ctx context.Context, mediaType string, p []byte) (v1.Descriptor, error) {
	desc := content.NewDescriptorFromBytes(mediaType, p)
	return desc, b.store.Push(ctx, desc, bytes.NewReader(p))
}

// archive packs the files of a directory, in the order of their names.
func archive(out, dir string, made time.Time) (err error) {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return addFile(w, dir, path, made)
	})
	return cmp.Or(err, w.Close())
}

func addFile(w *tar.Writer, dir, path string, made time.Time) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), ModTime: made}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
