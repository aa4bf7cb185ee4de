package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// setting is where results come from: what a reader needs beside the rows.
type setting struct {
	Date    string           `json:"date"`
	Machine string           `json:"machine"`
	Gild    string           `json:"gild"`
	InUse   int64            `json:"in_use"`  // bytes of the work image that hold something
	Changed int64            `json:"changed"` // bytes that differ between its versions
	Stored  map[string]int64 `json:"stored"`  // bytes of each tool's stored form
	Peers   []string         `json:"peers"`   // versions
}

// describe asks the machine and the tools who they are.
func describe(ctx context.Context, gild string) setting {
	s := setting{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Stored: make(map[string]int64)}
	if out, err := output(ctx, gild, "--version"); err == nil {
		s.Gild = strings.TrimSpace(string(out))
	}
	packages := []string{"curl", "zstd", "coreutils", "bmap-tools", "qemu-utils", "casync", "partclone"}
	if out, err := output(ctx, "dpkg-query", append([]string{"--show", "--showformat", "${Package} ${Version}\n"},
		packages...)...); err == nil {
		s.Peers = strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	return s
}

func machine() string {
	model := "an unnamed processor"
	memory := ""
	for _, field := range []struct {
		file, name string
		to         *string
	}{{"/proc/cpuinfo", "model name", &model}, {"/proc/meminfo", "MemTotal", &memory}} {
		if value, ok := procField(field.file, field.name); ok {
			*field.to = value
		}
	}
	var kib float64
	_, _ = fmt.Sscanf(memory, "%f kB", &kib) // left 0 where there is none
	var u unix.Utsname
	release := "?"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	kind := "a physical machine"
	if flags, ok := procField("/proc/cpuinfo", "flags"); ok && strings.Contains(flags, " hypervisor") {
		kind = "a virtual machine"
	}
	return fmt.Sprintf("%s, %d cores of %s, %.0f GiB of memory, Linux %s", kind, runtime.NumCPU(), model, kib/(1<<20), release)
}

// procField finds "name : value" in a file of /proc.
func procField(file, name string) (string, bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

func readSetting(path string) (setting, error) {
	var s setting
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

func (s setting) write(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
