package bootcfg

import (
	"bytes"
	"cmp"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
)

const maxSections = 1 << 16 // bytes of a section that is text

// ukiFile is a unified kernel image (UAPI Group, Unified Kernel Image
// specification).
type ukiFile struct {
	base     map[string][]byte
	profiles []map[string][]byte // the first is that of an image without any
	kernel   bool
}

// ukiProfile is what one profile of an image says.
type ukiProfile struct {
	id, title, version, sortKey, cmdline, uname string
}

// texts are the sections that are read.
var texts = []string{".cmdline", ".osrel", ".uname", ".profile"}

// openUKI reads a unified kernel image, which has a kernel.
func openUKI(v *Volume, name string) (*ukiFile, error) {
	u, err := openPE(v, name)
	if err == nil && !u.kernel {
		err = errors.New("read unified kernel image: no section .linux")
	}
	return u, err
}

// addon is what an addon adds.
type addon struct {
	cmdline, uname string
	kernel         bool
}

func openAddon(v *Volume, name string) (addon, error) {
	u, err := openPE(v, name)
	if err != nil {
		return addon{}, err
	}
	return addon{printableLine(u.base[".cmdline"]), printableLine(u.base[".uname"]), u.kernel}, nil
}

func openPE(v *Volume, name string) (*ukiFile, error) {
	file, err := v.FS.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, ok := file.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%T has no ReadAt", file)
	}
	image, err := pe.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read unified kernel image: %w", err)
	}
	defer image.Close()
	u := &ukiFile{base: map[string][]byte{}}
	here := u.base
	for _, s := range image.Sections {
		if s.Name == ".linux" {
			u.kernel = true
		}
		if s.Name == ".profile" && len(u.profiles) < 64 {
			here = map[string][]byte{}
			u.profiles = append(u.profiles, here)
		}
		if !slices.Contains(texts, s.Name) || here[s.Name] != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(content(r, s), maxSections))
		if err != nil {
			return nil, fmt.Errorf("read section %s: %w", s.Name, err)
		}
		here[s.Name] = text
	}
	if len(u.profiles) == 0 {
		u.profiles = []map[string][]byte{{}}
	}
	return u, nil
}

// content is a section. The size on disk is rounded up to the file alignment;
// the size in memory is the content's.
func content(r io.ReaderAt, s *pe.Section) *io.SectionReader {
	size := s.Size
	if s.VirtualSize > 0 {
		size = min(size, s.VirtualSize)
	}
	return io.NewSectionReader(r, int64(s.Offset), int64(size))
}

// profile puts a profile's sections over those of the base. One that does not
// exist is the first.
func (u *ukiFile) profile(n int) ukiProfile {
	if n < 0 || n >= len(u.profiles) {
		n = 0
	}
	section := func(name string) []byte {
		if s, ok := u.profiles[n][name]; ok {
			return s
		}
		return u.base[name]
	}
	release := keyValues(section(".osrel"))
	p := ukiProfile{
		cmdline: printableLine(section(".cmdline")), uname: printableLine(section(".uname")),
		// src/fundamental/bootspec.c, bootspec_pick_name_version_sort_key.
		title:   firstOf(release, "PRETTY_NAME", "IMAGE_ID", "NAME", "ID"),
		version: firstOf(release, "IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"),
		sortKey: firstOf(release, "IMAGE_ID", "ID"),
	}
	profile := keyValues(section(".profile"))
	p.id = profile["ID"]
	if n > 0 {
		p.title = strings.TrimSpace(p.title + " (" + cmp.Or(profile["TITLE"], p.id, fmt.Sprint("profile ", n)) + ")")
	}
	return p
}

// kernelAlone is a kernel that firmware starts itself.
func (f firmware) kernelAlone(v *Volume, name string) outcome {
	o := outcome{loader: "the firmware"}
	o.decide("boot loader", "none, the firmware starts %s", v.place(name))
	o.entry = &Entry{Title: path.Base(name), ID: path.Base(name), Source: SourceFirmware, volume: v, file: name}
	o.entry.Kernel = f.inSystem(v, name)
	o.decide("kernel and command line", "%s", v.place(name))
	o.doubts = append(o.doubts, golden.Doubt{
		About: "the command line", Settle: "--cmdline",
		Why: v.place(name) + " is a kernel that the firmware starts, with a command line that is built in or none",
	})
	return o
}

// keyValues reads the lines of os-release.
func keyValues(text []byte) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(string(bytes.TrimRight(text, "\x00"))) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			m[key] = strings.Trim(value, `"'`)
		}
	}
	return m
}

func firstOf(m map[string]string, keys ...string) string {
	for _, k := range keys {
		if m[k] != "" {
			return m[k]
		}
	}
	return ""
}

// UKISection gives a section of a unified kernel image: ".linux", ".initrd",
// ".cmdline", ".uname", ".osrel".
func UKISection(r io.ReaderAt, name string) (*io.SectionReader, error) {
	file, err := pe.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read unified kernel image: %w", err)
	}
	defer file.Close()
	section := file.Section(name)
	if section == nil {
		return nil, fmt.Errorf("read unified kernel image: no section %s", name)
	}
	return content(r, section), nil
}

func hasSection(code []byte, name string) bool {
	if !bytes.HasPrefix(code, []byte("MZ")) {
		return false
	}
	_, err := UKISection(bytes.NewReader(code), name)
	return err == nil
}
