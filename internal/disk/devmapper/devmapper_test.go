package devmapper

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel stands for device-mapper: it keeps what it was asked.
type kernel struct {
	code  uint
	head  unix.DmIoctl
	rest  []byte
	calls int
	err   error
	fails int // calls that end with err; negative: all
}

func (k *kernel) ioctl(code uint, arg []byte) error {
	k.calls++
	head := (*unix.DmIoctl)(unsafe.Pointer(&arg[0]))
	k.code, k.head, k.rest = code, *head, append([]byte{}, arg[headSize:]...)
	if k.fails != 0 {
		k.fails--
		return k.err
	}
	head.Dev = unix.Mkdev(253, 300)
	return nil
}

func text(p []byte) string { return unix.ByteSliceToString(p) }

func TestRequests(t *testing.T) {
	k := &kernel{}
	c := &Control{ioctl: k.ioctl}
	major, minor, err := c.Create("gild1", "part1-gild-x")
	if err != nil || major != 253 || minor != 300 {
		t.Errorf("Create() = %d:%d, %v; want 253:300", major, minor, err)
	}
	if k.code != unix.DM_DEV_CREATE || text(k.head.Name[:]) != "gild1" || text(k.head.Uuid[:]) != "part1-gild-x" ||
		k.head.Version != [3]uint32{4, 0, 0} {
		t.Errorf("Create() asked %#x with %+v", k.code, k.head)
	}
	if err := c.Load("gild1", Linear{Major: 43, Minor: 7, Start: 1 << 20, Size: 3 << 20}); err != nil {
		t.Fatal(err)
	}
	spec := *(*unix.DmTargetSpec)(unsafe.Pointer(&k.rest[0]))
	if k.code != unix.DM_TABLE_LOAD || k.head.Target_count != 1 || k.head.Data_start != unix.SizeofDmIoctl ||
		int(k.head.Data_size) != headSize+len(k.rest) ||
		spec.Sector_start != 0 || spec.Length != 6144 || text(spec.Target_type[:]) != "linear" || text(k.rest[specSize:]) != "43:7 2048" {
		t.Errorf("Load() asked %#x with %+v, %+v, %q", k.code, k.head, spec, k.rest[specSize:])
	}
	if spec.Next%8 != 0 || int(spec.Next) > len(k.rest) {
		t.Errorf("Load(): the next target would be at %d of %d bytes", spec.Next, len(k.rest))
	}
	for _, tt := range []struct {
		do    func(string) error
		code  uint
		flags uint32
	}{
		{c.Suspend, unix.DM_DEV_SUSPEND, unix.DM_SUSPEND_FLAG},
		{c.Resume, unix.DM_DEV_SUSPEND, 0},
		{c.Clear, unix.DM_TABLE_CLEAR, 0},
		{c.Remove, unix.DM_DEV_REMOVE, 0},
	} {
		if err := tt.do("gild2"); err != nil || k.code != tt.code || k.head.Flags != tt.flags || text(k.head.Name[:]) != "gild2" {
			t.Errorf("asked %#x with flags %#x: %v; want %#x, %#x", k.code, k.head.Flags, err, tt.code, tt.flags)
		}
	}
}

func TestRefusals(t *testing.T) {
	k := &kernel{}
	c := &Control{ioctl: k.ioctl}
	long := strings.Repeat("x", 200)
	_, _, longUUID := c.Create("a", long)
	_, _, longName := c.Create(long, "")
	for what, err := range map[string]error{
		"long uuid": longUUID, "long name": longName, "no name": c.Remove(""),
		"no size": c.Load("a", Linear{}), "half a sector": c.Load("a", Linear{Size: 100}),
		"before the start": c.Load("a", Linear{Size: 512, Start: -512}),
	} {
		if err == nil {
			t.Errorf("%s: nil; want an error", what)
		}
	}
	if k.calls != 0 {
		t.Errorf("the kernel was asked %d times for what cannot be", k.calls)
	}
	k.fails, k.err = -1, unix.EBUSY
	if err := c.Load("a", Linear{Size: 512}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("Load() = %v; want EBUSY", err)
	}
	// A signal undoes a suspend, which is then asked for again.
	k.calls, k.fails, k.err = 0, 3, unix.EINTR
	if err := c.Suspend("a"); err != nil || k.calls != 4 {
		t.Errorf("Suspend() = %v after %d calls; want nil after 4", err, k.calls)
	}
}

// The real rules of a distribution look for what UdevRecord says.
func TestUdevRecordIsWhatTheRulesAsk(t *testing.T) {
	var rules []byte
	for _, name := range []string{"/lib/udev/rules.d/55-dm.rules", "/lib/udev/rules.d/10-dm.rules", "/usr/lib/udev/rules.d/10-dm.rules"} {
		if p, err := os.ReadFile(name); err == nil {
			rules = p
		}
	}
	if rules == nil {
		t.Skip("needs udev's rules for device-mapper (dmsetup)")
	}
	for _, name := range []string{"DM_UDEV_PRIMARY_SOURCE_FLAG", "DM_UDEV_RULES", "DM_UDEV_RULES_VSN"} {
		if !strings.Contains(string(rules), `IMPORT{db}="`+name+`"`) {
			t.Errorf("the rules do not ask the database for %s", name)
		}
		if !strings.Contains(string(UdevRecord()), "E:"+name+"=") {
			t.Errorf("UdevRecord() does not say %s", name)
		}
	}
}
