package reply

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// File answers with content that never changes under its URL, whole or
// by one range. The caller has set Content-Type.
func File(w http.ResponseWriter, r *http.Request, content io.ReadSeekCloser, etag string) {
	defer content.Close()
	// A thousand ranges in one request are an attack (CVE-2011-3192); nobody
	// who boots from here asks for two.
	if ranges := r.Header.Values("Range"); len(ranges) > 1 || strings.Contains(r.Header.Get("Range"), ",") {
		http.Error(w, "one range a request", http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("ETag", `"`+etag+`"`)
	http.ServeContent(&steadyWriter{ResponseWriter: w, ctl: http.NewResponseController(w)}, r, "", time.Time{}, content)
}
