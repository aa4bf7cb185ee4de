package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// oldInit is the first program of the pipeline that gild is measured against.
//
//go:embed oldboot.sh
var oldInit string

// bootWay is one way from power-on to the golden login.
type bootWay struct {
	name    string
	flash   []string // arguments of gild flash; nil for the old pipeline
	image   string   // in gild's store, or what the old pipeline downloads
	network []string // texts of the console that say, one after another, that the network is up
	handoff string   // ... that the machine is about to enter the golden system
	live    bool     // the disk is completed after the handoff
}

// Images of gild's store.
const (
	goldenImage = "golden"
	filledImage = "golden-16g" // the same system beside 16 GiB of data
	filledData  = 16 << 30
)

func bootWays() []bootWay {
	ours := []string{"network: finding the network", "] network: "}
	old := []string{"old: network"}
	instant := []string{"--handoff", "instant"}
	return []bootWay{
		{name: "gild", flash: []string{"--read-back", "full"}, image: goldenImage, network: ours, handoff: "leaving by "},
		{name: "gild-noreadback", flash: []string{"--read-back", "off"}, image: goldenImage, network: ours, handoff: "leaving by "},
		{name: "gild-instant", flash: instant, image: goldenImage, network: ours, handoff: "entering the system", live: true},
		{name: "gild-instant-16g", flash: instant, image: filledImage, network: ours, handoff: "entering the system", live: true},
		{name: "ram-dd-raw", image: "golden.raw", network: old, handoff: "old: handoff"},
		{name: "ram-dd-gzip", image: "golden.raw.gz", network: old, handoff: "old: handoff"},
	}
}

const (
	bootMAC     = "52:54:00:67:69:%02x" // a machine of its own each time: what it was before is nothing to it
	bootAddress = "10.77.0.9/24"
	bootLogin   = "golden login:"
	bootWait    = 15 * time.Minute
	// bootMemory holds the whole raw image, which the old pipeline needs and gild
	// does not, MiB.
	bootMemory = 4096
)

// booter measures whole boots of one emulated machine. Kernel, modules, memory
// and disk are the same for every way: only the first program of the initramfs
// differs.
type booter struct {
	gild    string
	log     *slog.Logger
	out     io.Writer
	dir     string
	accel   vm.Accel
	net     *network
	server  *lab.Server
	kernel  string
	initrds map[bool]string // by whether it is gild's
	size    int64           // of the disk: it holds each of the images
	boots   int             // so far
}

func runBoots(ctx context.Context, o options, cache string, log *slog.Logger, out io.Writer) (rows []result, err error) {
	b := &booter{gild: o.gild, log: log, out: out}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.prepare(ctx, cache, o.ways); err != nil {
		return nil, err
	}
	samples := make(map[string][]sample)
	ways := o.ways
	for round := range o.rounds {
		for i := range ways {
			way := ways[(i+round)%len(ways)]
			s, err := b.boot(ctx, way)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", way.name, err)
			}
			samples[way.name] = append(samples[way.name], s)
			fmt.Fprintf(out, "%d/%d boot %-16s network to handoff %6.2f s, power-on to login %6.2f s %v\n",
				round+1, o.rounds, way.name, s.wall, s.phases["login"], s.phases)
		}
	}
	for _, way := range ways {
		r := summarize(boot, loopback, way.name, samples[way.name])
		r.Login = r.Phases["login"]
		rows = append(rows, r)
	}
	return rows, nil
}

// prepare makes image, network, server and both initramfs.
func (b *booter) prepare(ctx context.Context, cache string, ways []bootWay) error {
	builder := &images.Builder{Cache: cache, Log: b.log}
	image, err := builder.Golden(ctx, images.XFSBIOS())
	if err != nil {
		return err
	}
	choice, err := builder.Accel(ctx)
	if err != nil {
		return err
	}
	b.accel = choice.Accel
	if b.kernel, _, err = builder.Kernel(ctx); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(cache, "boot-"); err != nil {
		return err
	}
	files := filepath.Join(cache, "bench-"+strings.TrimSuffix(filepath.Base(image), ".raw"))
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	forms := &imageBuilder{log: b.log}
	for _, f := range []form{
		{"raw", "golden.raw", `ln -s "$2" "$1"`, []string{image}, nil},
		{"gzip", "golden.raw.gz", `gzip -c "$2" > "$1"`, []string{image}, nil},
	} {
		if err := forms.make(ctx, files, f); err != nil {
			return err
		}
	}
	if b.net, err = newNetwork(ctx, files); err != nil {
		return err
	}
	if _, err := b.net.lab.Tap(ctx, "boot0"); err != nil {
		return err
	}
	b.server = &lab.Server{Program: b.gild, Data: filepath.Join(b.dir, "data"), Net: b.net.lab, Args: []string{"--dhcp", "server"}}
	if err := b.store(ctx, goldenImage, image, images.XFSBIOS()); err != nil {
		return err
	}
	if slices.ContainsFunc(ways, func(w bootWay) bool { return w.image == filledImage }) {
		spec := images.XFSBIOS()
		spec.Size += filledData
		image, err := builder.Filled(ctx, spec, filledData)
		if err != nil {
			return err
		}
		if err := b.store(ctx, filledImage, image, spec); err != nil {
			return err
		}
	}
	if err := b.buildInitrds(ctx); err != nil {
		return err
	}
	return b.server.Start(ctx)
}

func (b *booter) store(ctx context.Context, name, path string, spec images.Spec) error {
	b.log.Info("storing", "tool", "gild", "image", name)
	_, err := b.server.Gild(ctx, "image", "add", name, path)
	b.size = max(b.size, spec.Size)
	return err
}

// buildInitrds makes gild's initramfs, and one with the same modules and
// busybox in which another first program takes the place of gild's: the kernel
// unpacks archives one over the other.
func (b *booter) buildInitrds(ctx context.Context) error {
	ours, old := filepath.Join(b.dir, "gild.initrd"), filepath.Join(b.dir, "old.initrd")
	b.initrds = map[bool]string{true: ours, false: old}
	if _, err := b.server.Gild(ctx, "initramfs", goldenImage, "--output", ours); err != nil {
		return err
	}
	if _, err := b.server.Gild(ctx, "initramfs", goldenImage, "--rescue-shell", "--output", old); err != nil {
		return err
	}
	base, err := os.ReadFile(old)
	if err != nil {
		return err
	}
	var more bytes.Buffer
	more.Write(base)
	more.Write(make([]byte, -len(base)&3)) // archives begin at multiples of four
	w := cpio.Newc.Writer(&more)
	if err := cpio.WriteRecordsAndDirs(w, []cpio.Record{cpio.StaticFile("init", oldInit, 0o755)}); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return os.WriteFile(old, more.Bytes(), 0o644)
}

// boot runs one machine from power-on to the golden login. Its disk is new each
// time.
func (b *booter) boot(ctx context.Context, way bootWay) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	disk := filepath.Join(b.dir, "disk.raw")
	if err := errors.Join(os.RemoveAll(disk), os.WriteFile(disk, nil, 0o600), os.Truncate(disk, b.size)); err != nil {
		return sample{}, err
	}
	b.boots++
	mac, cmdline := fmt.Sprintf(bootMAC, b.boots), "console=ttyS0,115200 "
	if way.flash != nil {
		args := append([]string{"flash", mac, "--image", way.image, "--unseen", "--yes", "--no-grow"}, way.flash...)
		if _, err := b.server.Gild(ctx, args...); err != nil {
			return sample{}, err
		}
		cmdline += fmt.Sprintf("gild.server=http://%s:%d", b.net.lab.Addr.Addr(), gildPort)
	} else {
		cmdline += "bench.address=" + bootAddress + " bench.image=" + b.net.base + "/" + way.image
	}
	began := time.Now()
	m, err := vm.Start(ctx, vm.Config{
		Accel: b.accel, AllInstructions: true, Memory: bootMemory, CPUs: 2,
		Disks:  []vm.Disk{{Path: disk, Serial: "gild-bench"}},
		NICs:   []vm.NIC{{MAC: mac, Tap: "boot0"}},
		Kernel: b.kernel, Initrd: b.initrds[way.flash != nil], Cmdline: cmdline,
		Namespace: b.net.lab.Namespace,
		SerialLog: filepath.Join(b.dir, way.name+".log"),
	})
	if err != nil {
		return sample{}, err
	}
	defer func() {
		m.Kill()
		_ = m.Close()
	}()
	reach := func(texts ...string) (float64, error) {
		for _, text := range texts {
			found, _, err := m.Console.Expect(ctx, text, "Kernel panic", " failed: ")
			if err == nil && found != text {
				err = fmt.Errorf("the machine says %q before %q:\n%s", found, text, lastOf(m.Console.Transcript()))
			}
			if err != nil {
				return 0, err
			}
		}
		return time.Since(began).Seconds(), nil
	}
	network, err := reach(way.network...)
	if err != nil {
		return sample{}, err
	}
	handoff, err := reach(way.handoff)
	if err != nil {
		return sample{}, err
	}
	login, err := reach(bootLogin)
	if err != nil {
		return sample{}, err
	}
	s.wall = handoff - network
	s.phases = map[string]float64{"network": network, "handoff": handoff, "login": login}
	s.verdict = verdict{inUse: true} // the golden system runs from it
	// Data that nobody asks for would take the rest of an hour.
	if way.flash == nil || way.image == filledImage {
		return s, nil
	}
	receipt, err := b.receipt(ctx, mac, way.live)
	if err != nil {
		return sample{}, err
	}
	s.memory = receipt.Memory
	if way.live {
		s.phases["complete"] = time.Since(began).Seconds()
	}
	return s, nil
}

// receipt is the agent's; of a disk that is completed after the handoff it is
// yet to come.
func (b *booter) receipt(ctx context.Context, mac string, live bool) (*api.Receipt, error) {
	has := func(m lab.Machine) bool { return m.Receipt != nil }
	if live {
		machine, err := b.server.WaitFor(ctx, mac, has)
		return machine.Receipt, err
	}
	machine, err := b.server.Machine(ctx, mac)
	if err == nil && !has(machine) {
		err = errors.New("the machine's record has no receipt")
	}
	return machine.Receipt, err
}

func lastOf(transcript string) string { return transcript[max(0, len(transcript)-2000):] }

func (b *booter) close() error {
	var err error
	if b.server != nil {
		err = errors.Join(err, b.server.Stop())
	}
	if b.net != nil {
		err = errors.Join(err, b.net.Close())
	}
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}
