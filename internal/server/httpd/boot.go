package httpd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/door/reply"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// Paths on the boot network that firmware and iPXE are sent to.
const (
	PathFirstScript = "/boot.ipxe"    // one script for all: goes to PathScript
	PathScript      = "/machine.ipxe" // the script of one machine
	PathNBP         = "/ipxe/"        // and a file name: network boot programs for UEFI HTTP boot
	PathCA          = "/boot/ca.pem"  // the certificate that the initramfs holds, for one that is built elsewhere
)

// Boot is what the boot network can reach. All fields but those with a stated
// zero value must be set.
type Boot struct {
	// BaseURL is how machines reach this handler: scheme, host, port, no
	// slash at the end.
	BaseURL  string
	Machines Machines
	Images   Images
	Specs    Specs
	Scripts  Scripts
	// NBP opens a network boot program by its name; nil: there are none.
	NBP func(name string) (io.ReadSeekCloser, error)
	// Servers returns the base URLs that an agent may use, BaseURL first;
	// nil: only BaseURL.
	Servers func(context.Context) []string
	CA      []byte       // certificate, PEM, of who signs for the servers; empty: nobody
	Log     *slog.Logger // nil: discard

	words *words
}

// Handler returns the handler of the boot network.
func (b *Boot) Handler() http.Handler {
	s := *b
	s.Log = cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	s.words = newWords()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathFirstScript, s.firstScript)
	mux.HandleFunc("GET "+PathScript, s.script)
	mux.HandleFunc("GET "+PathNBP+"{file}", s.nbp)
	mux.HandleFunc("GET /boot/{source}/{file}", s.bootFile)
	if len(s.CA) > 0 {
		mux.HandleFunc("GET "+PathCA, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555, 9.1
			_, _ = w.Write(s.CA)
		})
	}
	mux.HandleFunc("POST "+api.PathHello, s.hello)
	mux.HandleFunc("POST "+api.PathEvents, s.events)
	mux.HandleFunc("POST "+api.PathIdentity, s.identity)
	mux.HandleFunc("POST "+api.PathBeacon, s.beacon)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	registry := registry{images: s.Images, log: s.Log}
	registry.routes(mux)
	return exact(mux)
}

// exact refuses a path that is not in its shortest form. The mux would
// redirect, and firmware breaks on a redirect.
func exact(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if clean := path.Clean(p); p != clean && p != clean+"/" || !strings.HasPrefix(p, "/") {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (b *Boot) firstScript(w http.ResponseWriter, r *http.Request) {
	p, err := b.Scripts.Chain(b.BaseURL + PathScript)
	if err != nil {
		reply.Fail(w, r, b.Log, err)
		return
	}
	b.Log.Info("first script", "client", r.RemoteAddr)
	writeScript(w, p)
}

// script answers iPXE with what this one machine is to boot. Whatever goes
// wrong here, a machine that is not armed must reach its local disk.
func (b *Boot) script(w http.ResponseWriter, r *http.Request) {
	who, err := asker(r)
	if err != nil {
		b.Log.Warn("script refused", "client", r.RemoteAddr, "err", err)
		writeScript(w, b.Scripts.LocalDisk("this machine gave no usable MAC address"))
		return
	}
	log := b.Log.With("machine", who.MAC, "client", r.RemoteAddr)
	// iPXE prefetches nothing, but people look with HEAD: that is no boot.
	if r.Method == http.MethodHead {
		writeScript(w, nil)
		return
	}
	d, err := b.Machines.Boot(r.Context(), who, remoteIP(r))
	if err != nil {
		// 503 makes iPXE ask again: an armed machine must not go to its disk
		// because the server is starting.
		reply.Fail(w, r, log, err)
		return
	}
	if d.Image == nil {
		log.Info("script: local disk", "why", d.Why)
		writeScript(w, b.Scripts.LocalDisk(d.Why))
		return
	}
	p, err := b.bootScript(r.Context(), d)
	if err != nil {
		log.Error("image cannot be booted", "image", d.Image.Name, "err", err)
		b.note(r.Context(), log, fleet.Sighting{
			MAC: who.MAC, Source: fleet.FromIPXE, Step: fleet.StepBoot, Cause: api.CauseImageBoot,
			Message: "cannot boot " + d.Image.Name + ": " + err.Error(),
		})
		writeScript(w, b.Scripts.LocalDisk("cannot boot "+d.Image.Name+", the server's log says why"))
		return
	}
	log.Info("script: agent", "image", d.Image.Name, "digest", d.Image.Digest)
	writeScript(w, p)
}

// servers are the base URLs for the agent.
func (b *Boot) servers(ctx context.Context) []string {
	if b.Servers == nil {
		return []string{b.BaseURL}
	}
	return b.Servers(ctx)
}

func (b *Boot) bootScript(ctx context.Context, d fleet.Decision) ([]byte, error) {
	digest, err := golden.ParseDigest(d.Image.Digest)
	if err != nil {
		return nil, err
	}
	spec, err := b.Specs.Spec(ctx, bootspec.Question{
		Image: digest, Arch: d.Arch, Handoff: d.Handoff, Servers: b.servers(ctx), Ticket: d.Ticket,
	})
	if err != nil {
		return nil, err
	}
	return b.Scripts.Boot(b.BaseURL+spec.Kernel(), b.BaseURL+spec.Initramfs(), spec.Cmdline, d.Why, b.BaseURL+PathFirstScript)
}

// asker reads what the first script made iPXE say of its machine.
func asker(r *http.Request) (api.Inventory, error) {
	q := r.URL.Query()
	mac, err := wire.ParseMAC(q.Get("mac"))
	if err != nil {
		return api.Inventory{}, err
	}
	return api.Inventory{
		MAC:      mac,
		UUID:     wire.Clean(q.Get("uuid")),
		Serial:   wire.Clean(q.Get("serial")),
		Vendor:   wire.Clean(q.Get("manufacturer")),
		Product:  wire.Clean(q.Get("product")),
		Arch:     wire.Clean(q.Get("arch")),
		Firmware: map[string]string{"pcbios": "bios", "efi": "uefi"}[q.Get("platform")],
	}, nil
}

func writeScript(w http.ResponseWriter, p []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if p != nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	}
	_, _ = w.Write(p)
}

// note records a sighting; that it could not be is only worth a log line.
func (b *Boot) note(ctx context.Context, log *slog.Logger, s fleet.Sighting) {
	if err := b.Machines.Seen(ctx, s); err != nil {
		log.Warn("event lost", "err", err)
	}
}

// bootFile serves a file of a spec.
func (b *Boot) bootFile(w http.ResponseWriter, r *http.Request) {
	source, err := golden.ParseDigest(r.PathValue("source"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	name := r.PathValue("file")
	f, err := b.Specs.Open(r.Context(), source, name)
	if err != nil {
		reply.Fail(w, r, b.Log, err)
		return
	}
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
		b.Log.Info("sending "+name, "source", source.Short(), "client", r.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	reply.File(w, r, f, f.Tag)
}

func (b *Boot) nbp(w http.ResponseWriter, r *http.Request) {
	if b.NBP == nil {
		http.NotFound(w, r)
		return
	}
	name := r.PathValue("file")
	f, err := b.NBP(name)
	if err != nil {
		reply.Fail(w, r, b.Log, err)
		return
	}
	if r.Method == http.MethodGet {
		b.Log.Info("sending boot program", "file", name, "client", r.RemoteAddr)
	}
	// EDK2 takes a file for an NBP by this type or by its name (UEFI 2.10, 24.7.7).
	w.Header().Set("Content-Type", "application/efi")
	reply.File(w, r, f, name)
}

func (b *Boot) hello(w http.ResponseWriter, r *http.Request) {
	var h api.Hello
	err := reply.ReadJSON(w, r, budget.HelloBody, &h)
	if err == nil {
		err = wire.CheckHello(&h)
	}
	if err == nil {
		err = b.words.heard(r, h.Inventory.MAC)
	}
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	h.Plain = r.TLS == nil
	log := b.Log.With("machine", h.Inventory.MAC, "client", r.RemoteAddr)
	a, err := b.Machines.Hello(r.Context(), h, remoteIP(r))
	if err != nil {
		reply.Fail(w, r, log, err)
		return
	}
	log.Log(r.Context(), weight(a), "hello", "action", a.Action, "why", a.Message)
	reply.JSON(w, a)
}

func (b *Boot) events(w http.ResponseWriter, r *http.Request) {
	var report api.Report
	err := reply.ReadJSON(w, r, budget.ReportBody, &report)
	if err == nil {
		err = wire.CheckReport(&report, time.Now())
	}
	if err == nil {
		err = b.words.heard(r, report.MAC)
	}
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	log := b.Log.With("machine", report.MAC, "client", r.RemoteAddr)
	err = b.Machines.Report(r.Context(), report, remoteIP(r))
	if err != nil {
		b.lost(w, r, log, err)
		return
	}
	for _, e := range report.Events {
		if e.State != api.StateProgress {
			log.Info("step", "step", e.Step, "state", e.State, "message", e.Message)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// lost answers an agent that does not hold the plan it speaks of, and any
// other failure.
func (b *Boot) lost(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if early, ok := errors.AsType[*fleet.EarlyError](err); ok {
		reply.Problem(w, http.StatusTooEarly, early.Error())
		return
	}
	if lost, ok := errors.AsType[*fleet.SessionError](err); ok {
		log.Warn("agent refused", "path", r.URL.Path, "why", lost.Why)
		reply.Problem(w, http.StatusConflict, lost.Error())
		return
	}
	reply.Fail(w, r, log, err)
}

// identity gives secrets, and therefore speaks TLS only.
func (b *Boot) identity(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		b.Log.Warn("identity refused", "client", r.RemoteAddr, "why", "plain HTTP")
		w.Header().Set("Upgrade", "TLS/1.3, HTTP/1.1") // RFC 9110, 15.5.22
		reply.Problem(w, http.StatusUpgradeRequired, "an identity is given by TLS only: restart the machine, so that it boots the agent of this server")
		return
	}
	var req api.IdentityRequest
	err := reply.ReadJSON(w, r, budget.SmallBody, &req)
	if err == nil {
		err = wire.CheckIdentityRequest(&req)
	}
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	log := b.Log.With("machine", req.MAC, "client", r.RemoteAddr)
	identity, has, err := b.Machines.Identity(r.Context(), req, remoteIP(r))
	if err != nil {
		b.lost(w, r, log, err)
		return
	}
	log.Info("identity", "given", has)
	if !has {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	reply.JSON(w, identity)
}

// beacon takes the call of a new system. Its path holds a secret, which no log
// is to hold, and its body says nothing.
func (b *Boot) beacon(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("beacon")
	r = r.Clone(r.Context())
	r.URL.Path = api.PathBeacon
	if !wire.IsToken(token) {
		http.NotFound(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBeacon))
	known, err := b.Machines.Beacon(r.Context(), token, remoteIP(r))
	switch {
	case err != nil:
		reply.Fail(w, r, b.Log, err)
	case !known:
		b.Log.Warn("a beacon that nobody waits for", "client", r.RemoteAddr)
		http.NotFound(w, r)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// maxBeacon bounds the form that comes with a beacon, in bytes: cloud-init's
// holds the host keys.
const maxBeacon = 64 << 10

// remoteIP is the address that a request came from.
func remoteIP(r *http.Request) string {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().String()
}

// refuse answers a request that is the sender's fault.
func (b *Boot) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	if e, ok := errors.AsType[*reply.Refusal](err); ok {
		status = e.Status
	}
	if status == http.StatusTooManyRequests {
		// One line for each would be as good as a flood of the log.
		b.Log.Debug("asked to wait", "path", r.URL.Path, "client", r.RemoteAddr)
		w.Header().Set("Retry-After", reply.RetryAfter)
	} else {
		b.Log.Warn("request refused", "path", r.URL.Path, "client", r.RemoteAddr, "err", err)
	}
	reply.Problem(w, status, err.Error())
}
