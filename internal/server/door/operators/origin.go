package operators

import (
	"net"
	"net/http"
	"net/url"

	"github.com/gild-dev/gild/internal/server/door/reply"
)

// forwarding are the headers by which a program says that it asks for somebody
// else.
var forwarding = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip"}

// loopbackOnly keeps out what reaches a loopback address and comes from
// elsewhere: a Host that is not loopback is a rebound DNS name, and a proxy in
// front would give the API to all whom it serves.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			reply.Problem(w, http.StatusMisdirectedRequest, "the operator API answers to loopback addresses and localhost only")
			return
		}
		for _, name := range forwarding {
			if r.Header.Get(name) != "" {
				reply.Problem(w, http.StatusForbidden, "this request was forwarded ("+name+
					"), and the operator API on loopback answers this host only; "+
					"let --operator be another address, with a certificate, for what comes from elsewhere")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ownOrigin keeps pages of other sites from acting through, or reading with, a
// browser that reaches this server.
func ownOrigin(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin != "" && !sameOrigin(origin, r.Host) || cross.Check(r) != nil || embedded(r) {
			reply.Problem(w, http.StatusForbidden, "requests from web pages of other origins are refused")
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// embedded reports whether a page of another site loads this as a part of
// itself: an image, a script, a request without an Origin. Whether that loads
// tells the page something. To follow a link is no such thing (Fetch metadata,
// section 2).
func embedded(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host == host
}

func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
