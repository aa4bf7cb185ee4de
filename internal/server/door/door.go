// Package door opens an HTTP handler to clients within limits.
package door

import (
	"net/http"
	"net/netip"
	"path"
	"strings"
)

// Door is one of the doors of a listener: who comes by it has a purpose, and
// limits, of their own.
type Door interface {
	// Route registers what the door answers.
	Route(mux *http.ServeMux)
}

// Handler answers by some doors on one listener. A path that is not in its
// shortest form is refused: the mux would redirect, and firmware breaks on a
// redirect.
func Handler(doors ...Door) http.Handler {
	mux := http.NewServeMux()
	for _, d := range doors {
		d.Route(mux)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if clean := path.Clean(p); p != clean && p != clean+"/" || !strings.HasPrefix(p, "/") {
			http.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// From is the IP address that a request came from; empty: none is known.
func From(r *http.Request) string {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().String()
}
