package bootcfg

import (
	"debug/pe"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// loader reads systemd-boot's directories, on the EFI system partition or on the extended boot partition.
func (f *finder) loader() {
	for _, dir := range espDirs {
		entries := path.Join(dir, "loader/entries")
		if slices.Contains(f.blsDirs, entries) {
			continue
		}
		found := f.blsEntries(entries, nil)
		conf, isSystemd := f.read(path.Join(dir, "loader/loader.conf"))
		want := loaderDefault(string(conf))
		chosen := -1
		for i := range found {
			if isSystemd {
				found[i].Source = SourceSystemdBoot
			}
			if match, err := path.Match(want, found[i].ID); chosen < 0 && err == nil && match {
				chosen = i
			}
		}
		// Without a default in the file the first of the order is it, but only where no other boot loader had a say.
		if chosen < 0 && len(f.entries) == 0 {
			chosen = 0
		}
		if chosen >= 0 && chosen < len(found) {
			found[chosen].Default = true
		}
		f.add(entries, found, dir, "boot", "")
	}
}

// loaderDefault gives the pattern of loader.conf's default line; "@saved" and its like are kept in firmware variables,
// which an image does not have.
func loaderDefault(conf string) string {
	for line := range strings.Lines(conf) {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == "default" && !strings.HasPrefix(words[1], "@") {
			return strings.TrimSuffix(words[1], ".conf")
		}
	}
	return ""
}

// uki reads unified kernel images, type 2 entries of the Boot Loader Specification.
func (f *finder) uki() {
	for _, dir := range espDirs {
		files, err := fs.Glob(f.fsys, path.Join(dir, "EFI/Linux/*.efi"))
		if err != nil {
			continue
		}
		slices.SortFunc(files, func(a, b string) int { return compareVersions(b, a) })
		for _, name := range files {
			cmdline, err := f.ukiCmdline(name)
			if err != nil {
				f.problem(fmt.Errorf("%s: %w", name, err))
				continue
			}
			id := strings.TrimSuffix(path.Base(name), ".efi")
			f.add(name, []Entry{{Title: id, ID: id, Kernel: name, Cmdline: cmdline, Source: SourceUKI}}, "")
		}
	}
}

func (f *finder) ukiCmdline(name string) (string, error) {
	file, err := f.fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	r, ok := file.(io.ReaderAt)
	if !ok {
		return "", fmt.Errorf("%T has no ReadAt", file)
	}
	if _, err := UKISection(r, ".linux"); err != nil {
		return "", err
	}
	section, err := UKISection(r, ".cmdline")
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(section, maxCmdline+2))
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\x00\n "), nil
}

// UKISection gives a section of a unified kernel image: ".linux", ".initrd", ".cmdline", ".uname", ".osrel".
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
	// The size on disk is rounded up to the file alignment; the size in memory is the content's.
	size := section.Size
	if section.VirtualSize > 0 {
		size = min(size, section.VirtualSize)
	}
	return io.NewSectionReader(r, int64(section.Offset), int64(size)), nil
}
