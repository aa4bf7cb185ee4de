// Command bench measures gild against the tools that people write disk images
// with, on the same image, over the same link, to the same disk.
//
//	go run ./bench -gild bin/gild [-quick] [-work full,delta] [-link loopback,1gbit] [-tool gild,...] [-rounds 5]
//
// It needs root: for loop devices and network namespaces. docs/performance.md
// says what is measured and how.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := mainErr(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	gild    string
	works   []workName
	links   []linkName
	tools   []tool    // of the works full and delta
	ways    []bootWay // of the work boot
	rounds  int
	results string
	doc     string // "" for none
	levels  []string
	keep    bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var works, links, names string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.gild, "gild", "bin/gild", "the gild `program`")
	flags.StringVar(&works, "work", "full,delta", "what to do: `list` of full and delta, or boot")
	flags.StringVar(&links, "link", "", "over what: `list` of loopback and 1gbit (default: both)")
	flags.StringVar(&names, "tool", "", "`list` of tools (default: all)")
	flags.IntVar(&o.rounds, "rounds", 5, "runs of each tool")
	flags.StringVar(&o.results, "results", "", "results `file`")
	flags.StringVar(&o.doc, "doc", "", "`page` whose tables are written anew")
	levels := flags.String("levels", "", "`list` of further levels of compression whose stored bytes are told")
	flags.BoolVar(&o.keep, "keep-image", false, "do not store the image anew with this gild when it was stored before")
	quick := flags.Bool("quick", false, "a smoke run: one round on loopback, results in bin/bench-quick.json")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if *levels != "" {
		o.levels = strings.Split(*levels, ",")
	}
	defaultLinks, defaultResults := "loopback,1gbit", "bench/results.json"
	if *quick {
		o.rounds, defaultLinks, defaultResults = 1, "loopback", "bin/bench-quick.json"
	}
	o.results = cmp.Or(o.results, defaultResults)
	var err error
	if o.works, err = pick(works, []workName{full, delta, boot}); err != nil {
		return o, err
	}
	if o.links, err = pick(cmp.Or(links, defaultLinks), []linkName{loopback, gigabit}); err != nil {
		return o, err
	}
	if slices.Contains(o.works, boot) && len(o.works) > 1 {
		return o, errors.New("boot is measured by itself")
	}
	if o.works[0] == boot {
		o.ways, err = pickNamed(names, bootWays(), func(w bootWay) string { return w.name })
	} else {
		o.tools, err = pickNamed(names, tools(), func(t tool) string { return t.name })
	}
	if err != nil {
		return o, err
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("%d rounds: want one at least", o.rounds)
	}
	o.gild, err = filepath.Abs(o.gild)
	return o, err
}

// pick reads a list of known names.
func pick[T ~string](list string, known []T) ([]T, error) {
	var chosen []T
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(known, T(name)) {
			return nil, fmt.Errorf("%q is none of %v", name, known)
		}
		chosen = append(chosen, T(name))
	}
	return chosen, nil
}

// pickNamed reads a list of names of known things; an empty list is all of
// them.
func pickNamed[T any](list string, known []T, name func(T) string) ([]T, error) {
	if list == "" {
		return known, nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = name(k)
	}
	chosen, err := pick(list, names)
	return slices.DeleteFunc(known, func(k T) bool { return !slices.Contains(chosen, name(k)) }), err
}

// bench is a place where tools are measured.
type bench struct {
	images   *served
	net      *network
	target   *target
	place    place
	patience time.Duration // for one pipeline
	out      io.Writer
}

func mainErr(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root, for loop devices and network namespaces")
	}
	cache, err := host.Cache()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if o.works[0] == boot {
		rows, err := runBoots(ctx, o, cache, log, stdout)
		if err != nil {
			return err
		}
		return o.save(ctx, rows, nil)
	}
	return runWrites(ctx, o, cache, log, stdout)
}

// save puts rows into the results and writes the page anew. stored is nil when
// no image was stored.
func (o options) save(ctx context.Context, rows []result, stored *served) error {
	before, err := readResults(o.results)
	if err != nil {
		return err
	}
	rows = merge(before, rows)
	if err := writeResults(o.results, rows); err != nil || o.doc == "" {
		return err
	}
	beside := filepath.Join(filepath.Dir(o.results), "setting.json")
	where, err := readSetting(beside)
	if err != nil {
		return err
	}
	now := describe(ctx, o.gild)
	if stored == nil && where.Date != "" {
		now.InUse, now.Changed, now.Stored = where.InUse, where.Changed, where.Stored
		if now.Peers == nil {
			now.Peers = where.Peers // of boots they are no part, and need not be here
		}
	}
	if stored != nil {
		now.InUse, now.Changed, now.Stored = stored.used.bytesInUse(), stored.changed, stored.stored
	}
	return errors.Join(now.write(beside), writeReport(o.doc, rows, now))
}

// runWrites measures tools that write to a disk of this machine. What is
// measured is saved work by work and link by link: the whole takes long, and
// something may go wrong.
func runWrites(ctx context.Context, o options, cache string, log *slog.Logger, out io.Writer) (err error) {
	b := &bench{patience: 10 * time.Minute, out: out}
	builder := imageBuilder{cache: cache, gild: o.gild, keep: o.keep, levels: o.levels, log: log}
	if b.images, err = builder.build(ctx); err != nil {
		return err
	}
	if b.net, err = newNetwork(ctx, b.images.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.net.Close()) }()
	server := &lab.Server{Program: o.gild, Data: b.images.gild, Net: b.net.lab, Args: []string{"--dhcp", "off"}}
	if err := server.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if b.target, err = newTarget(ctx, cache, images.WorkSpec().Size); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.target.Close()) }()
	b.place = place{base: b.net.base, gild: o.gild, ref: b.net.gildRef(), target: b.target.whole.Path, root: b.target.root.Path}
	for _, work := range o.works {
		for _, link := range o.links {
			rows, err := b.rounds(ctx, o, work, link)
			if err == nil {
				err = o.save(ctx, rows, b.images)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// rounds runs every tool once a round, each round beginning with another one,
// and sums up.
func (b *bench) rounds(ctx context.Context, o options, work workName, link linkName) ([]result, error) {
	samples := make(map[string][]sample)
	for round := range o.rounds {
		for i := range o.tools {
			t := o.tools[(i+round)%len(o.tools)]
			if !t.does(work, link) {
				continue
			}
			s, err := b.judged(ctx, t, work, link)
			if err != nil {
				return nil, err
			}
			samples[t.name] = append(samples[t.name], s)
			fmt.Fprintf(b.out, "%d/%d %-5s %-8s %-15s %6.2f s  cpu %6.2f s  %6.1f MB memory  %6.1f MB over the link  equal %v (bytes %v) %v\n",
				round+1, o.rounds, work, link, t.name, s.wall, s.cpu, float64(s.memory)/1e6, float64(s.wire)/1e6, s.inUse, s.bytes, s.phases)
		}
	}
	var rows []result
	for _, t := range o.tools {
		if all := samples[t.name]; len(all) > 0 {
			rows = append(rows, summarize(work, link, t.name, all))
		}
	}
	return rows, nil
}

// judged is a run between the filling of the target and its comparison.
func (b *bench) judged(ctx context.Context, t tool, work workName, link linkName) (sample, error) {
	if err := b.target.fill(ctx, work, b.images.raw[0]); err != nil {
		return sample{}, err
	}
	s, err := b.run(ctx, t, work, link)
	if err != nil {
		return sample{}, err
	}
	if err := b.target.settle(); err != nil {
		return sample{}, err
	}
	if s.verdict, err = b.target.compare(ctx, b.images.raw[1], b.images.used); err != nil {
		return sample{}, err
	}
	// gild's stored image may leave free blocks out: then zeros are what it
	// promises.
	if t.phases != nil && !s.bytes {
		exported, err := b.target.compare(ctx, b.images.export, b.images.used)
		if err != nil {
			return sample{}, err
		}
		s.bytes = exported.bytes
	}
	return s, nil
}
