// Package grub finds out what GRUB 2 would boot, by running its scripts on the
// files of an image.
//
// It is an interpreter of GRUB's own language, which only looks like a shell's
// (GRUB manual, chapter 6; script/yylex.l, script/parser.y, script/execute.c),
// with the commands that decide what is booted. Nothing is loaded, and nothing
// is asked but a [Machine]. What cannot be known from an image, such as a key
// that is held down, is answered both ways; what comes out the same each time
// is decided all the same.
package grub

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// Flavour is whose GRUB it is: they differ in how the default is found, what
// configfile passes on, and in blscfg.
type Flavour int

// The flavours. Fedora is [RedHat9] up to release 43 and [RedHat10] from then
// on; RHEL 7 and all others are [Upstream].
const (
	Upstream Flavour = iota
	RedHat8
	RedHat9
	RedHat10
)

// Device is a partition as GRUB sees it, or the whole disk.
type Device struct {
	Number      int    // of the partition; 0 is the whole disk
	Scheme      string // "gpt" or "msdos"
	UUID, Label string
	Kind        string // of the file system, as blkid names it; empty when there is none
	FS          fs.FS  // nil when it cannot be read
}

// Name is GRUB's name of the device, without parentheses.
func (d *Device) Name() string {
	if d.Number == 0 {
		return "hd0"
	}
	return fmt.Sprintf("hd0,%s%d", d.Scheme, d.Number)
}

// Machine is what GRUB would find around it.
type Machine struct {
	Devices  []Device // in the order in which GRUB searches them
	Platform string   // $grub_platform: "pc", "efi"
	CPU      string   // $grub_cpu: "x86_64", "i386", "arm64"
	Flavour  Flavour
	Prefix   File   // $prefix
	Config   File   // the file that is read first
	Cmdpath  string // $cmdpath
	Entry    string // taken instead of $default when the first menu is shown
}

// File is a path on a device, with a leading slash.
type File struct {
	Device *Device
	Path   string
}

func (f File) String() string {
	if f.Device == nil {
		return f.Path
	}
	return "(" + f.Device.Name() + ")" + f.Path
}

// Place is a line of a configuration.
type Place struct {
	File string // as [File.String] has it
	Line int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Question is what an image does not answer.
type Question struct {
	Place Place
	What  string
}

func (q Question) String() string {
	if q.Place.File == "" {
		return q.What // of a menu, which may be of several files
	}
	return q.Place.String() + ": " + q.What
}

// Outcome is what is booted, or why nothing is.
type Outcome struct {
	Kernel  File
	Cmdline string // without BOOT_IMAGE=
	Initrds []File
	Title   string // of the entry; empty when none was needed
	ID      string
	At      Place // of the command that names the kernel
	// what is started that is no Linux kernel, or why nothing is; then Kernel is
	// empty
	Instead string
	BLS     bool // the entry is one of blscfg
	// Remarks are commands on the way that GRUB carries out in a manner that is not
	// known here.
	Remarks []Question
}

func (o *Outcome) same(p *Outcome) bool {
	return o.Kernel == p.Kernel && o.Cmdline == p.Cmdline && slices.Equal(o.Initrds, p.Initrds) && o.Instead == p.Instead
}

// Item is an entry of the first menu that is shown.
type Item struct{ Title, ID string }

// Result is all that can be said.
type Result struct {
	Outcome
	Others []Outcome  // what is booted instead if a question is answered in another way
	Asked  []Question // on the way to Outcome or to one of Others, where these differ
	Menu   []Item
	Read   []string // the files that were read, in order
	Chosen string   // how the default was named, such as `default=0`
}

const (
	maxRuns  = 48     // ways through a configuration
	maxSteps = 50_000 // commands in all of them together
	maxBytes = 8 << 20
	maxFile  = 1 << 20 // bytes of one script
	maxItems = 1000    // entries of a menu
)

// budget is shared by all ways through a configuration.
type budget struct{ steps, bytes int }

// Decide runs the machine's configuration in all ways that it does not decide
// by itself. The first is the one in which no key is pressed and no firmware is
// asked.
func Decide(m *Machine) Result { return decideWithin(m, &budget{maxSteps, maxBytes}) }

func decideWithin(m *Machine, left *budget) Result {
	first := run(m, nil, left)
	result := Result{Outcome: first.outcome, Menu: first.shown, Read: first.reads, Chosen: first.chosen}
	todo := alternatives(nil, first)
	for runs := 1; len(todo) > 0; runs++ {
		if runs >= maxRuns || left.steps <= 0 || left.bytes <= 0 {
			result.Remarks = append(result.Remarks, Question{m.place(), "there are more ways through it than are tried"})
			break
		}
		answers := todo[0]
		todo = todo[1:]
		r := run(m, answers, left)
		if len(r.asked) < len(answers) {
			break // nothing is left for the way to its question
		}
		todo = append(todo, alternatives(answers, r)...)
		if !result.same(&r.outcome) {
			if !slices.ContainsFunc(result.Others, func(o Outcome) bool { return o.same(&r.outcome) }) {
				result.Others = append(result.Others, r.outcome)
			}
			if q := r.asked[len(answers)-1].question; !slices.Contains(result.Asked, q) {
				result.Asked = append(result.Asked, q)
			}
		}
	}
	if left.steps <= 0 || left.bytes <= 0 {
		result.Remarks = append(result.Remarks, Question{m.place(), "the script does not end, or its variables grow without end"})
	}
	return result
}

func (m *Machine) place() Place { return Place{m.Config.String(), 1} }

// alternatives are the answers that a run did not give to the questions that it
// was the first to ask.
func alternatives(given []int, r *runner) [][]int {
	var all [][]int
	for i := len(given); i < len(r.asked); i++ {
		answers := make([]int, i, i+1)
		for j := range answers {
			answers[j] = r.asked[j].answer
		}
		for other := range r.asked[i].options {
			if other != r.asked[i].answer {
				all = append(all, append(slices.Clone(answers), other))
			}
		}
	}
	return all
}

// run takes one way through the configuration.
func run(m *Machine, answers []int, left *budget) *runner {
	r := &runner{
		m: m, left: left, answers: answers,
		functions: map[string][]script.Node{}, vars: map[string]string{}, exported: map[string]bool{}, menu: &menu{},
	}
	for _, name := range strings.Fields("chainloader_bpb ntldr platform_search_hint default_font_path all_video_module " +
		"menuentry_id menuentry_options 200_final nativedisk_cmd timeout_style") {
		r.export("feature_"+name, "y")
	}
	r.export("grub_platform", m.Platform)
	r.export("grub_cpu", m.CPU)
	if m.Config.Device != nil {
		r.export("root", m.Config.Device.Name())
	}
	if m.Prefix.Device != nil {
		r.export("root", m.Prefix.Device.Name())
		r.export("prefix", m.Prefix.String())
	}
	r.export("cmdpath", m.Cmdpath)
	for _, name := range strings.Fields("pager color_normal color_highlight chosen config_file config_directory") {
		r.exported[name] = true
	}
	r.config(m.Config)
	if !r.ended() {
		r.end(Outcome{Instead: "the configuration has no entry"})
	}
	return r
}
