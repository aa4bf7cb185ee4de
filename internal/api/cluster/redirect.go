package cluster

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// maxRedirects is how many steps a blob may be away from where it was asked
// for.
const maxRedirects = 3

// follow decides on a redirect: what the operator named is what is spoken to.
// Only blobs may lie elsewhere, as registries keep them in stores of objects,
// and their digests are known before. From https nothing goes to http. A
// redirect that is not followed is the answer.
func follow(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
	case sameServer(req.URL, first):
		return nil
	case isBlob(first) && (req.URL.Scheme == first.Scheme || req.URL.Scheme == "https"):
		return nil
	}
	return http.ErrUseLastResponse
}

func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// isBlob tells a blob's path from a manifest's: the repository before it may
// have any name.
func isBlob(u *url.URL) bool { return path.Base(path.Dir(u.Path)) == "blobs" }
