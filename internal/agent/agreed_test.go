package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/agent/order/ordertest"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/lockedbuf"
	"github.com/gild-dev/gild/internal/settings"
)

const (
	oneSwapped = "44454c4c-4200-1035-8052-b4c04f4e3332" // ordertest.UUID with its first fields in the other byte order
	fillerUUID = "03000200-0400-0500-0006-000700080009"
	otherMAC   = "52:54:00:00:00:02"
)

// agreements are what an operator may have agreed to, and what has to come of
// it on the machine and the disk that are there.
var agreements = []struct {
	name   string
	change func(g *api.Agreed, m *api.Inventory, d *api.Disk)
	cause  string   // empty: it is written
	says   []string // in the message: both sides' values
}{
	{"just that", func(*api.Agreed, *api.Inventory, *api.Disk) {}, "", nil},
	{"the UUID's other byte order", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.UUID = oneSwapped }, "", nil},
	{"another adapter", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.MACs = []string{otherMAC} }, "", nil},
	{"no serial then", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Serial = "" }, "", nil},
	{"no UUID now", func(_ *api.Agreed, m *api.Inventory, _ *api.Disk) { m.UUID = "" }, "", nil},
	{"a filler for a UUID now", func(_ *api.Agreed, m *api.Inventory, _ *api.Disk) { m.UUID = fillerUUID }, "", nil},
	{"an address and nothing else", func(g *api.Agreed, m *api.Inventory, _ *api.Disk) {
		g.UUID, g.Serial, m.UUID, m.Serial = "", "", fillerUUID, "Default string"
	}, "", nil},
	{"a second card's address and nothing else", func(g *api.Agreed, m *api.Inventory, _ *api.Disk) {
		g.UUID, g.Serial, g.MACs = "", "", []string{otherMAC}
		m.NICs = append(m.NICs, api.NIC{Name: "eth1", MAC: otherMAC})
	}, "", nil},

	{
		"another UUID", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.UUID = ordertest.OtherUUID }, api.CauseOtherMachine,
		[]string{"UUID", ordertest.UUID, ordertest.OtherUUID},
	},
	{
		"another UUID and no serial", func(g *api.Agreed, m *api.Inventory, _ *api.Disk) { g.UUID, m.Serial = ordertest.OtherUUID, "" },
		api.CauseOtherMachine,
		[]string{ordertest.UUID, ordertest.OtherUUID},
	},
	{
		"another serial", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Serial = "F4K3N13" }, api.CauseOtherMachine,
		[]string{"serial", "F4K3N12", "F4K3N13"},
	},
	{
		"neither UUID nor serial now", func(_ *api.Agreed, m *api.Inventory, _ *api.Disk) { m.UUID, m.Serial = "", "" }, api.CauseOtherMachine,
		[]string{ordertest.UUID, "not known"},
	},
	{"another address and nothing else", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) {
		g.UUID, g.Serial, g.MACs = "", "", []string{otherMAC}
	}, api.CauseOtherMachine, []string{ordertest.MAC, otherMAC}},

	{"another name of the disk", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Disk.Name = "sdb" }, "", nil},
	{"another place of the disk", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Disk.Path = "pci-0000:00:17.0-ata-2" }, "", nil},
	{"no WWN then", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Disk.WWN = "" }, "", nil},
	{"a disk without any number", func(g *api.Agreed, _ *api.Inventory, d *api.Disk) {
		g.Disk.Serial, g.Disk.WWN, d.Serial, d.WWN = "", "", "", ""
	}, "", nil},

	{
		"another disk", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Disk.Serial = "S4EW0124" }, api.CauseOtherDisk,
		[]string{"sda", "serial", "S4EW0123", "S4EW0124"},
	},
	{"another disk by WWN", func(g *api.Agreed, _ *api.Inventory, d *api.Disk) {
		g.Disk.Serial, g.Disk.WWN, d.Serial = "", "0x5002538d40c9a3f2", ""
	}, api.CauseOtherDisk, []string{"WWN", "0x5002538d40c9a3f1", "0x5002538d40c9a3f2"}},
	{
		"a disk that has lost its numbers", func(_ *api.Agreed, _ *api.Inventory, d *api.Disk) { d.Serial, d.WWN = "", "" }, api.CauseOtherDisk,
		[]string{"S4EW0123", "not known"},
	},
	{
		"another size", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { g.Disk.Size *= 2 }, api.CauseOtherDisk,
		[]string{"size", "8388608", "16777216"},
	},
	{"another place and no number", func(g *api.Agreed, _ *api.Inventory, d *api.Disk) {
		g.Disk.Serial, g.Disk.WWN, d.Serial, d.WWN, g.Disk.Path = "", "", "", "", "pci-0000:00:17.0-ata-2"
	}, api.CauseOtherDisk, []string{"place", "ata-1", "ata-2"}},
	{"another model and no number", func(g *api.Agreed, _ *api.Inventory, d *api.Disk) {
		g.Disk.Serial, g.Disk.WWN, d.Serial, d.WWN, g.Disk.Model = "", "", "", "", "WDC WD40"
	}, api.CauseOtherDisk, []string{"model", "Samsung 870", "WDC WD40"}},

	{"unseen", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) {
		*g = api.Agreed{Unseen: true, MACs: []string{ordertest.MAC}}
	}, "", nil},
	{"unseen, and its firmware's UUID", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) {
		*g = api.Agreed{Unseen: true, UUID: ordertest.OtherUUID}
	}, api.CauseOtherMachine, []string{ordertest.UUID, ordertest.OtherUUID}},
	{
		"what an older server says: nothing", func(g *api.Agreed, _ *api.Inventory, _ *api.Disk) { *g = api.Agreed{} }, api.CausePlan,
		[]string{"older server", "arm the machine again"},
	},
}

// The agent writes to what the operator agreed to, and to nothing else,
// whatever the server believes of the machine. A refusal is told on both sides.
func TestOnlyWhatWasAgreedToIsWritten(t *testing.T) {
	images := newImageServer(t)
	for _, tt := range agreements {
		t.Run(tt.name, func(t *testing.T) {
			g, m, d := ordertest.Agreed(), ordertest.Machine(), ordertest.Disk()
			tt.change(&g, &m, &d)
			plan := images.plan
			plan.Agreed = g
			file := filepath.Join(t.TempDir(), "disk")
			before := bytes.Repeat([]byte{7}, ordertest.DiskSize)
			if err := os.WriteFile(file, before, 0o600); err != nil {
				t.Fatal(err)
			}
			failed, err := images.rehearse(t, plan, Rehearsal{Inventory: m, Disk: file, Drive: d, Ticket: "aticket"})
			after, _ := os.ReadFile(file)
			if tt.cause == "" {
				if err != nil || failed.Step != "" || !bytes.Equal(after[:len(images.raw)], images.raw) {
					t.Errorf("Rehearse() = %v, failure %+v; want the image on the disk", err, failed)
				}
				return
			}
			if !bytes.Equal(after, before) {
				t.Error("something was written")
			}
			if failed.Cause != tt.cause {
				t.Errorf("the server was told of %+v; want %s", failed, tt.cause)
			}
			for _, want := range append(tt.says, "what to do: ") {
				if !strings.Contains(failed.Message, want) && !strings.Contains(images.screen.String(), want) {
					t.Errorf("the message %q lacks %q", failed.Message, want)
				}
			}
		})
	}
}

// imageServer hands out one image, and plans for it.
type imageServer struct {
	*httptest.Server
	raw    []byte
	plan   api.Plan // but for Agreed
	screen *advised

	mu     sync.Mutex
	answer api.Plan
	hellos []api.Hello
	failed api.Event // the first failure
	stop   func()
}

func newImageServer(t *testing.T) *imageServer {
	t.Helper()
	s := &imageServer{raw: make([]byte, 4<<20)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(s.raw)
	digest, blobs := storedImage(t, s.raw)
	s.plan = api.Plan{
		ID: "p", Image: api.PlanImage{Name: "small", Repository: "golden/small", Digest: string(digest)}, Wipe: true,
		Agent: settings.Agent{ReadBack: "full", Handoff: "reboot"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blobs[golden.Digest(path.Base(r.URL.Path))]))
	})
	mux.HandleFunc("POST "+api.PathHello, func(w http.ResponseWriter, r *http.Request) {
		var h api.Hello
		_ = json.NewDecoder(r.Body).Decode(&h)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hellos = append(s.hellos, h)
		_ = json.NewEncoder(w).Encode(api.Answer{Action: api.ActionFlash, Plan: &s.answer})
	})
	mux.HandleFunc("POST "+api.PathEvents, s.hear)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *imageServer) hear(w http.ResponseWriter, r *http.Request) {
	var report api.Report
	_ = json.NewDecoder(r.Body).Decode(&report)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range report.Events {
		if e.State == api.StateFailed && s.failed.Step == "" {
			e.Plan = report.Plan
			s.failed = e
			go func(screen *advised, stop func()) {
				<-screen.seen
				stop()
			}(s.screen, s.stop)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// rehearse plays a machine until it has carried out the plan or told of the
// first failure, which it returns.
func (s *imageServer) rehearse(t *testing.T, plan api.Plan, r Rehearsal) (failed api.Event, err error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	s.mu.Lock()
	s.answer, s.failed, s.stop, s.hellos, s.screen = plan, api.Event{}, stop, nil, &advised{seen: make(chan struct{})}
	s.mu.Unlock()
	r.Servers, r.Console = s.URL, s.screen
	err = Rehearse(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hellos {
		if h.Ticket != r.Ticket {
			t.Errorf("the hello has the ticket %q; want %q", h.Ticket, r.Ticket)
		}
	}
	if s.failed.Step != "" && s.failed.Plan != plan.ID {
		t.Errorf("the failure is told of the plan %q; want %q", s.failed.Plan, plan.ID)
	}
	return s.failed, err
}

// advised is a screen whose reader sees when there is advice on it.
type advised struct {
	lockedbuf.Buffer
	once sync.Once
	seen chan struct{}
}

func (s *advised) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), "what to do: ") {
		s.once.Do(func() { close(s.seen) })
	}
	return n, err
}

// storedImage is an image of raw bytes as a registry has it: its digest, and
// all that it is made of.
func storedImage(t *testing.T, raw []byte) (golden.Digest, map[golden.Digest][]byte) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	table, err := golden.NewTable(golden.DefaultChunkSize, golden.BLAKE3)
	must(err)
	enc, err := zstd.NewWriter(nil)
	must(err)
	var disk []byte
	for at := int64(0); at < int64(len(raw)); at += table.ChunkSize {
		chunk := raw[at:min(at+table.ChunkSize, int64(len(raw)))]
		frame := enc.EncodeAll(chunk, nil)
		must(table.Append(int64(len(chunk)), golden.Chunk{Hash: table.Hash.Sum(chunk), Offset: int64(len(disk)), Length: int64(len(frame))}))
		disk = append(disk, frame...)
	}
	var chunks bytes.Buffer
	_, err = table.WriteTo(&chunks)
	must(err)
	config, err := (&golden.Config{Disk: golden.Disk{
		Size: table.DiskSize, SectorSize: 512, ChunkSize: table.ChunkSize, Hash: table.Hash.String(), Scheme: "none",
	}}).Marshal()
	must(err)
	blobs := map[golden.Digest][]byte{}
	keep := func(mediaType string, p []byte) golden.Descriptor {
		d := golden.DigestOf(p)
		blobs[d] = p
		return golden.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(p))}
	}
	manifest, err := (&golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: golden.ArtifactType,
		Config: keep(golden.MediaTypeConfig, config),
		Layers: []golden.Descriptor{keep(golden.MediaTypeDisk, disk), keep(golden.MediaTypeChunks, chunks.Bytes())},
	}).Marshal()
	must(err)
	return keep("", manifest).Digest, blobs
}
