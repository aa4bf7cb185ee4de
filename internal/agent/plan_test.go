package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

func TestAccept(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	good := api.Plan{ID: "p", Image: api.PlanImage{Name: "d", Repository: "golden/debian-12", Digest: digest}, ReadBack: "full", Handoff: "auto", Agreed: agreedOnce()}
	for name, spoil := range map[string]func(*api.Plan){
		"":                   func(*api.Plan) {},
		"no id":              func(p *api.Plan) { p.ID = "" },
		"digest":             func(p *api.Plan) { p.Image.Digest = "sha256:A" },
		"digest with a path": func(p *api.Plan) { p.Image.Digest = "../x" },
		"repository":         func(p *api.Plan) { p.Image.Repository = "golden/../../agent" },
		"handoff":            func(p *api.Plan) { p.Handoff = "jump" },
		"read-back":          func(p *api.Plan) { p.ReadBack = "maybe" },
	} {
		a := &Agent{runner: runner{queue: newQueue()}, host: &stage{Rehearsal: Rehearsal{Inventory: theMachine()}}, conn: &netif.Conn{MAC: oneMAC}}
		plan := good
		spoil(&plan)
		_, err := a.accept(api.Answer{Action: api.ActionFlash, Plan: &plan})
		if (err == nil) != (name == "") || (a.plan != nil) != (name == "") {
			t.Errorf("accept, wrong %q = %v, plan %v", name, err, a.plan)
		}
	}
	if _, err := new(Agent).accept(api.Answer{Action: api.ActionFlash}); err == nil {
		t.Error("accept() without a plan = nil; want an error")
	}
}

func TestAcceptKeepsTheImageOfTheSamePlan(t *testing.T) {
	plan := api.Plan{ID: "p", Image: api.PlanImage{Repository: "g", Digest: "sha256:" + strings.Repeat("a", 64)}, Agreed: agreedOnce()}
	a := &Agent{runner: runner{queue: newQueue()}, plan: &plan, image: &golden.Image{}, host: &stage{Rehearsal: Rehearsal{Inventory: theMachine()}}, conn: &netif.Conn{MAC: oneMAC}}
	same, other := plan, plan
	other.ID = "q"
	if _, err := a.accept(api.Answer{Plan: &same}); err != nil || a.image == nil {
		t.Errorf("accept(same plan) = %v, image kept %v; want nil, true", err, a.image != nil)
	}
	if _, err := a.accept(api.Answer{Plan: &other}); err != nil || a.image != nil {
		t.Errorf("accept(other plan) = %v, image kept %v; want nil, false", err, a.image != nil)
	}
}

func TestFits(t *testing.T) {
	image := golden.Disk{Size: 1 << 30, SectorSize: 512}
	for _, tt := range []struct {
		disk api.Disk
		ok   bool
	}{
		{api.Disk{Size: 1 << 30, SectorSize: 512}, true}, {api.Disk{Size: 1<<30 - 512, SectorSize: 512}, false}, {api.Disk{Size: 2 << 30, SectorSize: 4096}, false},
	} {
		if err := fits(tt.disk, image); (err == nil) != tt.ok || err != nil && !errors.Is(err, errUnfit) {
			t.Errorf("fits(%+v) = %v; want ok %v", tt.disk, err, tt.ok)
		}
	}
}

func TestInventoryFromFiles(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/class/dmi/id/product_uuid": "ABCD-1\n", "sys/class/dmi/id/product_serial": "To Be Filled By O.E.M.\n",
		"sys/class/dmi/id/sys_vendor": "Evil\x1b[2J\n", "sys/firmware/efi/fw_platform_size": "64\n",
		"proc/cpuinfo": "processor : 0\nmodel name : Fast\nprocessor : 1\nmodel name : Fast\n", "proc/meminfo": "MemTotal:  1024 kB\n",
		"sys/class/net/eth0/address": "52:54:00:00:00:01\n", "sys/class/net/eth0/carrier": "1\n", "sys/class/net/lo/address": "00:00:00:00:00:00\n",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	driver := filepath.Join(root, "sys/class/net/eth0/device/driver")
	if err := errors.Join(os.MkdirAll(filepath.Dir(driver), 0o755), os.Symlink("../../bus/drivers/e1000", driver)); err != nil {
		t.Fatal(err)
	}
	got := machine{sys: filepath.Join(root, "sys"), proc: filepath.Join(root, "proc")}.inventory("m")
	if got.UUID != "abcd-1" || got.Serial != "" || got.Vendor != "Evil?[2J" || got.Firmware != "uefi" || got.CPU != "Fast" || got.CPUs != 2 || got.Memory != 1<<20 {
		t.Errorf("inventory() = %+v", got)
	}
	want := api.NIC{Name: "eth0", MAC: "52:54:00:00:00:01", Driver: "e1000", Carrier: true}
	if len(got.NICs) != 1 || got.NICs[0] != want {
		t.Errorf("inventory() NICs = %+v; want %+v", got.NICs, want)
	}
}

func TestChildrenLeavesItsOwnToBeWaitedFor(t *testing.T) {
	c := newChildren()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.reapOnce("/proc")
			}
		}
	}()
	defer close(stop)
	for range 20 {
		if err := c.run("/bin/true", []string{"true"}, &os.ProcAttr{}); err != nil {
			t.Fatalf("run() = %v; want the child's own end", err)
		}
	}
}
