package write

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gild-dev/gild/internal/api/cluster"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/oci"
)

// remoteRef names an image in a registry:
// oci+http://HOST:PORT/REPOSITORY[:TAG|@DIGEST].
type remoteRef struct {
	server     string // "http://host:port"
	repository string
	reference  string // a tag or a digest
}

const remotePrefix = "oci+"

func isRemote(ref string) bool { return strings.HasPrefix(ref, remotePrefix) }

func parseRemote(ref string) (remoteRef, error) {
	wrong := func(why string) (remoteRef, error) {
		return remoteRef{}, exit.Usage(exit.Hint(
			fmt.Errorf("%.200q is no image in a registry: %s", ref, why),
			"the form is oci+http://HOST:PORT/NAME[:TAG|@DIGEST]; `gild serve` has its images under golden/NAME",
		))
	}
	u, err := url.Parse(strings.TrimPrefix(ref, remotePrefix))
	switch {
	case err != nil:
		return wrong(errors.Unwrap(err).Error())
	case u.Scheme != "http" && u.Scheme != "https":
		return wrong("it begins with neither oci+http:// nor oci+https://")
	case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return wrong("only a host, a port and a name may be in it")
	}
	r := remoteRef{server: u.Scheme + "://" + u.Host, repository: strings.TrimPrefix(u.Path, "/"), reference: "latest"}
	if name, digest, ok := strings.Cut(r.repository, "@"); ok {
		if _, err := golden.ParseDigest(digest); err != nil {
			return wrong(err.Error())
		}
		r.repository, r.reference = name, digest
	} else if name, tag, ok := strings.Cut(r.repository, ":"); ok {
		r.repository, r.reference = name, tag
	}
	if err := golden.CheckRepository(r.repository); err != nil {
		return wrong(err.Error())
	}
	if err := golden.CheckReference(r.reference); err != nil {
		return wrong(err.Error())
	}
	return r, nil
}

// openRemote pulls all of an image but its disk, which the source then gives by
// ranges.
func (a commands) openRemote(ctx context.Context, ref string) (*golden.Image, supply.Ranges, error) {
	r, err := parseRemote(ref)
	if err != nil {
		return nil, nil, err
	}
	servers, err := cluster.Open(r.server)
	if err != nil {
		return nil, nil, exit.Usage(err)
	}
	registry := oci.Of(servers)
	digest, err := registry.Resolve(ctx, r.repository, r.reference, golden.MaxManifestSize)
	if err != nil {
		return nil, nil, r.explain(err)
	}
	im, err := golden.Pull(ctx, registry, r.repository, golden.Digest(digest))
	if err != nil {
		return nil, nil, r.explain(err)
	}
	return im, registry.Ranges(r.repository, string(im.Disk.Digest), im.Disk.Size), nil
}

// explain says what an operator can do about a server's answer, or about none.
func (r remoteRef) explain(err error) error {
	err = fmt.Errorf("taking %s from %s: %w", r.repository, r.server, err)
	status, answered := errors.AsType[*cluster.StatusError](err)
	switch {
	case answered && status.Status == http.StatusNotFound:
		return exit.NotFound(exit.Hint(err, "`gild serve` has its images under golden/NAME; a registry lists its own at /v2/_catalog"))
	case answered && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden):
		return exit.Hint(err,
			"gild pulls without credentials: let the registry serve this image to anybody, or copy it to a local OCI layout and add it there")
	case answered:
		return err
	}
	if _, network := errors.AsType[net.Error](err); network {
		return exit.NoServer(exit.Hint(err, "is a server listening there?"))
	}
	return exit.Input(err)
}
