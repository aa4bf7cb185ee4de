package inspect

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden/fstab"
)

// systemDirs are what has to be there before a first program can start.
var systemDirs = []string{"/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64"}

// rootWork is what files of the image ask its own initrd to do with the root,
// beside the words of the command line.
func rootWork(tree fs.FS) []string {
	var work []string
	mounts, _ := fstab.Parse(readOptional(tree, "etc/fstab"))
	for _, m := range mounts {
		asked := slices.Contains(m.Options, "x-initrd.mount")
		if m.File != "/" && (asked || slices.Contains(systemDirs, path.Clean(m.File)) && !slices.Contains(m.Options, "noauto")) {
			work = append(work, "mount "+m.File)
		}
	}
	for line := range strings.Lines(string(readOptional(tree, "etc/overlayroot.conf"))) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value = strings.Trim(value, `"' `); name == "overlayroot" && value != "" && value != "disabled" {
			work = append(work, "overlayroot="+value)
		}
	}
	return append(work, initrdScripts(tree)...)
}

// initrdScripts are the scripts that somebody has put into the initrd of
// initramfs-tools, beside those of packages.
func initrdScripts(tree fs.FS) []string {
	const dir = "etc/initramfs-tools/scripts"
	var found []string
	stages, err := fs.ReadDir(tree, dir)
	if err != nil {
		return nil // there are none
	}
	for _, stage := range stages {
		scripts, err := fs.ReadDir(tree, path.Join(dir, stage.Name()))
		if err != nil {
			continue // no stage
		}
		for _, s := range scripts {
			info, err := fs.Stat(tree, path.Join(dir, stage.Name(), s.Name()))
			if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && len(found) < 8 {
				found = append(found, fmt.Sprintf("run %s/%s", stage.Name(), s.Name()))
			}
		}
	}
	return found
}
