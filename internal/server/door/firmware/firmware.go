// Package firmware answers what machines ask before an agent runs: boot
// programs, iPXE's scripts, kernels.
//
// It decides nothing and stores nothing: machines and what they boot are behind
// the interfaces here, scripts behind functions.
package firmware

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/door"
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

// Machines is what firmware asks about machines. What it is given was checked:
// MACs are in the form of wire.ParseMAC, text is clean.
type Machines interface {
	// Seen notes that the machine fetched something.
	Seen(ctx context.Context, s fleet.Sighting) error
	// Boot decides what the machine boots that who describes, and that asks from
	// the IP address from.
	Boot(ctx context.Context, who api.Inventory, from string) (fleet.Decision, error)
}

// Specs tells what machines boot.
type Specs interface {
	// Spec is what one machine boots, or why it cannot be booted.
	Spec(ctx context.Context, q bootspec.Question) (bootspec.Spec, error)
	// Open opens a file of a spec, by the source of the spec. What is not there
	// MUST be an error that is fs.ErrNotExist. The caller closes the file.
	Open(ctx context.Context, from golden.Digest, file string) (bootspec.File, error)
}

// Scripts writes what iPXE is told. All three escape what they are given.
type Scripts struct {
	// Chain goes to the script at url, with the machine's mac, uuid, serial,
	// manufacturer, product, arch and platform as its query.
	Chain func(url string) ([]byte, error)
	// LocalDisk boots the local disk; why is shown on the console.
	LocalDisk func(why string) []byte
	// Boot boots a kernel; again is the URL to ask anew after a failure.
	Boot func(kernel, initrd, cmdline, why, again string) ([]byte, error)
}

// Door lets firmware in. All fields but those with a stated zero value must be
// set.
type Door struct {
	// BaseURL is how machines reach this door: scheme, host, port, no slash at
	// the end.
	BaseURL  string
	Machines Machines
	Specs    Specs
	Scripts  Scripts
	// NBP opens a network boot program by its name; nil: there are none.
	NBP func(name string) (io.ReadSeekCloser, error)
	// Servers returns the base URLs that an agent may use, BaseURL first;
	// nil: only BaseURL.
	Servers func(context.Context) []string
	CA      []byte       // certificate, PEM, of who signs for the servers; empty: nobody
	Log     *slog.Logger // nil: discard
}

// Route implements [door.Door].
func (d *Door) Route(mux *http.ServeMux) {
	b := *d
	b.Log = cmp.Or(b.Log, slog.New(slog.DiscardHandler))
	mux.HandleFunc("GET "+PathFirstScript, b.firstScript)
	mux.HandleFunc("GET "+PathScript, b.script)
	mux.HandleFunc("GET "+PathNBP+"{file}", b.nbp)
	mux.HandleFunc("GET /boot/{source}/{file}", b.bootFile)
	if len(b.CA) > 0 {
		mux.HandleFunc("GET "+PathCA, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555, 9.1
			_, _ = w.Write(b.CA)
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
}

func (d *Door) firstScript(w http.ResponseWriter, r *http.Request) {
	p, err := d.Scripts.Chain(d.BaseURL + PathScript)
	if err != nil {
		reply.Fail(w, r, d.Log, err)
		return
	}
	d.Log.Info("first script", "client", r.RemoteAddr)
	writeScript(w, p)
}

// script answers iPXE with what this one machine is to boot. Whatever goes
// wrong here, a machine that is not armed must reach its local disk.
func (d *Door) script(w http.ResponseWriter, r *http.Request) {
	who, err := asker(r)
	if err != nil {
		d.Log.Warn("script refused", "client", r.RemoteAddr, "err", err)
		writeScript(w, d.Scripts.LocalDisk("this machine gave no usable MAC address"))
		return
	}
	log := d.Log.With("machine", who.MAC, "client", r.RemoteAddr)
	// iPXE prefetches nothing, but people look with HEAD: that is no boot.
	if r.Method == http.MethodHead {
		writeScript(w, nil)
		return
	}
	decision, err := d.Machines.Boot(r.Context(), who, door.From(r))
	if err != nil {
		// 503 makes iPXE ask again: an armed machine must not go to its disk
		// because the server is starting.
		reply.Fail(w, r, log, err)
		return
	}
	if decision.Image == nil {
		log.Info("script: local disk", "why", decision.Why)
		writeScript(w, d.Scripts.LocalDisk(decision.Why))
		return
	}
	p, err := d.bootScript(r.Context(), decision)
	if err != nil {
		log.Error("image cannot be booted", "image", decision.Image.Name, "err", err)
		d.note(r.Context(), log, fleet.Sighting{
			MAC: who.MAC, Source: fleet.FromIPXE, Step: fleet.StepBoot, Cause: api.CauseImageBoot,
			Message: "cannot boot " + decision.Image.Name + ": " + err.Error(),
		})
		writeScript(w, d.Scripts.LocalDisk("cannot boot "+decision.Image.Name+", the server's log says why"))
		return
	}
	log.Info("script: agent", "image", decision.Image.Name, "digest", decision.Image.Digest)
	writeScript(w, p)
}

// servers are the base URLs for the agent.
func (d *Door) servers(ctx context.Context) []string {
	if d.Servers == nil {
		return []string{d.BaseURL}
	}
	return d.Servers(ctx)
}

func (d *Door) bootScript(ctx context.Context, decision fleet.Decision) ([]byte, error) {
	digest, err := golden.ParseDigest(decision.Image.Digest)
	if err != nil {
		return nil, err
	}
	spec, err := d.Specs.Spec(ctx, bootspec.Question{
		Image: digest, Arch: decision.Arch, Handoff: decision.Handoff, Servers: d.servers(ctx), Ticket: decision.Ticket,
	})
	if err != nil {
		return nil, err
	}
	return d.Scripts.Boot(d.BaseURL+spec.Kernel(), d.BaseURL+spec.Initramfs(), spec.Cmdline, decision.Why, d.BaseURL+PathFirstScript)
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
func (d *Door) note(ctx context.Context, log *slog.Logger, s fleet.Sighting) {
	if err := d.Machines.Seen(ctx, s); err != nil {
		log.Warn("event lost", "err", err)
	}
}

// bootFile serves a file of a spec.
func (d *Door) bootFile(w http.ResponseWriter, r *http.Request) {
	source, err := golden.ParseDigest(r.PathValue("source"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	name := r.PathValue("file")
	f, err := d.Specs.Open(r.Context(), source, name)
	if err != nil {
		reply.Fail(w, r, d.Log, err)
		return
	}
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
		d.Log.Info("sending "+name, "source", source.Short(), "client", r.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	reply.File(w, r, f, f.Tag)
}

func (d *Door) nbp(w http.ResponseWriter, r *http.Request) {
	if d.NBP == nil {
		http.NotFound(w, r)
		return
	}
	name := r.PathValue("file")
	f, err := d.NBP(name)
	if err != nil {
		reply.Fail(w, r, d.Log, err)
		return
	}
	if r.Method == http.MethodGet {
		d.Log.Info("sending boot program", "file", name, "client", r.RemoteAddr)
	}
	// EDK2 takes a file for an NBP by this type or by its name (UEFI 2.10, 24.7.7).
	w.Header().Set("Content-Type", "application/efi")
	reply.File(w, r, f, name)
}
