// Package bootspec tells what a machine boots to receive an image.
//
// The answer is one value: kernel, initramfs, command line. What stands behind
// the value are files, which are built when they are first needed and kept.
package bootspec

import (
	"cmp"
	"context"
	"io"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootline"
)

// Question is what a boot script is made for.
type Question struct {
	Image golden.Digest
	// Arch is that of the machine, as its agent or iPXE calls it; empty: it is
	// not known, and taken to be that of the image, or else amd64.
	Arch    string
	Handoff string   // that the plan asks for; empty: auto
	Servers []string // base URLs that the agent may use, the nearest first
	Ticket  string   // ties the agent to the script that boots it; empty: none
}

// Spec is what one machine boots.
type Spec struct {
	// Source is the manifest that gives the kernel and the modules for it. What
	// is fetched is named by it, and so stays the same for all who were told of it.
	Source  golden.Digest
	Arch    string // of the kernel, as Go names it
	Release string // of the kernel, as uname -r
	Cmdline string // complete, checked by bootline
	// BootKernel is the name of the boot kernel; empty: the image's own kernel.
	BootKernel string
	// Handoff is how the machine will leave the agent, and Why, as far as the
	// image tells: see golden.Config.Handoff.
	Handoff, Why string
	stamp        string
}

// The files of a spec.
const (
	Kernel    = "kernel"
	Initramfs = "initramfs"
)

// Kernel is the path that the kernel is fetched from.
func (s Spec) Kernel() string { return "/boot/" + string(s.Source) + "/" + Kernel }

// Initramfs is the path that the initramfs is fetched from. Its query keeps
// caches from taking that of another server, or of another agent, for it.
func (s Spec) Initramfs() string {
	return "/boot/" + string(s.Source) + "/" + Initramfs + "?v=" + s.stamp
}

// File is an open file of a spec.
type File struct {
	io.ReadSeekCloser
	// Tag names the bytes: another file has another one.
	Tag string
}

// Spec answers what a machine boots to receive an image. An image that no
// machine can be booted for is an error with a hint, one that is not stored is
// fs.ErrNotExist.
func (f *Files) Spec(_ context.Context, q Question) (Spec, error) {
	im, err := f.Store.Image(string(q.Image))
	if err != nil {
		return Spec{}, err
	}
	src, err := f.choose(im, q)
	if err != nil {
		return Spec{}, err
	}
	s := Spec{Source: src.digest, BootKernel: src.name, Arch: src.arch, Release: src.release, Cmdline: src.cmdline, stamp: src.stamp}
	s.Handoff, s.Why = foretell(im.Config, q.Handoff, src.name != "")
	return s, nil
}

// choose takes the first candidate that a machine can be booted with. Where
// there is none, the error is that of the first. The command line of what it
// returns is complete.
func (f *Files) choose(im *golden.Image, q Question) (source, error) {
	all, err := f.candidates(im, q)
	if err != nil {
		return source{}, err
	}
	var failed error
	for _, src := range all {
		parts, err := f.parts(src)
		if err == nil {
			src.cmdline, err = cmdline(src.cmdline, q, f.Busybox != nil)
		}
		if err == nil {
			src.stamp = f.key(src, parts).Hex()[:stampLen]
			return src, nil
		}
		failed = cmp.Or(failed, err)
	}
	return source{}, failed
}

// foretell says how a machine will leave the agent, and why.
func foretell(c *golden.Config, asked string, bootKernel bool) (way, why string) {
	way, why = c.Handoff()
	switch {
	case asked == api.HandoffReboot:
		return api.HandoffReboot, "it is asked for"
	case c.Boot == nil:
		return way, why
	case bootKernel && way == api.HandoffSwitchRoot && c.Boot.Kernel == "":
		return api.HandoffReboot, "the agent runs on another kernel than the image's, which is not on its disk"
	case bootKernel && way == api.HandoffSwitchRoot:
		return api.HandoffKexec, "the agent runs on another kernel than the image's"
	case asked == api.HandoffSwitchRoot || asked == api.HandoffKexec && c.Boot.Kernel != "":
		if way != api.HandoffReboot {
			return asked, "it is asked for"
		}
	}
	return way, why
}

// Bootable says why no machine could be booted to receive an image.
func (f *Files) Bootable(image golden.Digest) error {
	_, err := f.Spec(context.Background(), Question{Image: image})
	return err
}

// stampLen is how many hex digits tell one initramfs from another of the same
// source.
const stampLen = 16

// cmdline joins the words that gild needs and the image's own, which keep
// their order. From the image it drops what would tell the agent something
// (gild.*), what takes its place as the first program (rdinit=) and what names
// files of another boot loader. rescue asks for a shell.
func cmdline(image string, q Question, rescue bool) (string, error) {
	var words []string
	if len(q.Servers) > 0 {
		words = append(words, "gild.server="+strings.Join(q.Servers, ","))
	}
	if q.Ticket != "" {
		words = append(words, "gild.ticket="+q.Ticket)
	}
	if rescue {
		words = append(words, "gild.rescue")
	}
	return bootline.Join(append(words, bootline.Words(image)...))
}
