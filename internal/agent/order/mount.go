package order

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/backoff"
)

// nodePatience is how long a partition may take to appear below /dev.
const nodePatience = 10 * time.Second

// Mount mounts a partition of the flashed disk, or the whole disk
// when number is 0.
func (t *Target) Mount(ctx context.Context, number int, fsType, dir string, flags uintptr, data string) error {
	// The type is foreign: it names a module and a file system, no more.
	if fsType == "" || strings.Trim(fsType, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return fmt.Errorf("file system %.40q cannot be mounted", fsType)
	}
	if err := t.Modules.Load(fsType); err != nil {
		t.Log.Debug("no module for the file system", "type", fsType, "error", err) // mount(2) has the last word
	}
	node := t.Nodes[number]
	if t.Nodes == nil {
		found, err := partitionNode(ctx, "/sys", t.Disk.Name, number)
		if err != nil {
			return err
		}
		node = found
	}
	if err := (mount.Point{Source: node, Target: dir, Type: fsType, Flags: flags, Data: data}).Mount(); err != nil {
		return &mountError{err}
	}
	return nil
}

// partitionNode waits for the device node of a partition, whose name only the
// kernel knows: sda1, nvme0n1p1.
func partitionNode(ctx context.Context, sys, disk string, number int) (string, error) {
	if number == 0 {
		return "/dev/" + disk, nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	for {
		found, _ := filepath.Glob(filepath.Join(sys, "class/block", disk, "*", "partition"))
		for _, file := range found {
			name := filepath.Base(filepath.Dir(file))
			if machine.Text(file) != strconv.Itoa(number) {
				continue
			}
			if _, err := os.Stat("/dev/" + name); err == nil {
				return "/dev/" + name, nil
			}
		}
		if backoff.Sleep(ctx, 20*time.Millisecond) != nil {
			return "", fmt.Errorf("partition %d of %s did not appear", number, disk)
		}
	}
}
