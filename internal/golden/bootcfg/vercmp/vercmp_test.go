package vercmp_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
)

type order func(a, b string) int

var (
	bls8  order = func(a, b string) int { return vercmp.BLS(a, b, false) }
	bls9  order = func(a, b string) int { return vercmp.BLS(a, b, true) }
	names       = map[string]order{
		"rpm": vercmp.RPM, "dpkg": vercmp.Debian, "uapi": vercmp.UAPI, "sort -V": vercmp.FileName,
		"mkconfig": vercmp.Mkconfig, "mkconfig upstream": vercmp.MkconfigUpstream, "blscfg 8": bls8, "blscfg 9": bls9,
	}
)

func sign(n int) byte {
	switch {
	case n < 0:
		return '<'
	case n > 0:
		return '>'
	}
	return '='
}

// check wants a comparison and its mirror image.
func check(t *testing.T, name string, f order, a, b string, want byte) {
	t.Helper()
	mirror := map[byte]byte{'<': '>', '>': '<', '=': '='}[want]
	if got := sign(f(a, b)); got != want {
		t.Errorf("%s: %q %c %q; want %c", name, a, got, b, want)
	}
	if got := sign(f(b, a)); got != mirror {
		t.Errorf("%s: %q %c %q; want %c", name, b, got, a, mirror)
	}
}

// Pairs on which all orders agree.
func TestAgreed(t *testing.T) {
	for _, tt := range []struct{ newer, older string }{
		{"5.14.0-427.13.1.el9_4", "5.14.0-427.9.1.el9_4"},
		{"1.0", "1.0~rc1"},
		{"6.1.0-13-amd64", "6.1.0-9-amd64"},
		{"6.1.0-13-amd64.old", "6.1.0-12-amd64"},
		{"6.1.0+deb12", "6.1.0"},
		{"5.15.0-100-generic", "5.15.0-99-generic"},
		{"6.6.10-debug", "6.6.10"},
		{"5.14.0-70.x86_64+debug", "5.14.0-70.x86_64"},
		{"6.4.0-150600.23.7-default", "6.4.0-150600.21-default"},
		{"10.20", "9"},
		{"1.0~rc2", "1.0~rc1"},
		{"1.0^git1", "1.0"},
		{"6.8.0-rc10", "6.8.0-rc1"},
		{"6.8.0-1.fc40", "6.8.0-0.rc1.fc40"},
		{"6.1.0-13-cloud-amd64", "6.1.0-13-amd64"},
		{"6.1.0-13-rt-amd64", "6.1.0-13-amd64"},
		{"5.15.0-100-lowlatency", "5.15.0-100-generic"},
		{"1.0.0", "1.0"},
		{"5.14.0-71.x86_64", "5.14.0-70.x86_64+debug"},
		{"4.19.0-27-amd64-dbg", "4.19.0-27-amd64"},
		{"a", "A"},
		{"6.5.0-1-amd64", "6.5.0-0.deb12.4-amd64"},
	} {
		for name, f := range names {
			a, b := tt.newer, tt.older
			if strings.HasPrefix(name, "mkconfig") {
				a, b = "vmlinuz-"+a, "vmlinuz-"+b
			}
			check(t, name, f, a, b, '>')
		}
	}
}

// Pairs on which they do not: rpm, dpkg, uapi, sort -V, mkconfig of Debian 12,
// blscfg of RHEL 8, of RHEL 9.
func TestDisputed(t *testing.T) {
	columns := []string{"rpm", "dpkg", "uapi", "sort -V", "mkconfig", "blscfg 8", "blscfg 9"}
	for _, tt := range []struct{ a, b, want string }{
		{"5.14.0-427.el9", "5.14.0-427.13.1.el9_4", "<><<><<"},
		{"1.0^git1", "1.0.1", "<><>><<"},
		{"6.8.0", "6.8.0-rc1", "<<<<><<"},
		{"6.1-pre1", "6.1", ">>>><>>"},
		{"6.1-test", "6.1", ">>>><>>"},
		{"6.1.0-13-amd64", "6.1.0-13-amd64.old", "<<<<><<"},
		{"6.1.0+deb12-amd64", "6.1.0-amd64", ">>><>><"},
		{"6.12.9+bpo-amd64", "6.12.9-amd64", ">>><>><"},
		{"1.0_1", "1.0.1", "=>>>>=="},
		{"1.0-1", "1.0.1", "?<<<<=="},
		{"1.0a", "1.0.1", "<<><<<<"},
		{"1.0a", "1.0", ">>>>>>>"},
		{"1.a", "1.1", "<><<><<"},
		{"1.010", "1.10", "===<==="},
		{"6.9.3-arch1-1", "6.9.3.arch1-1", "=<<<<=="},
		{"5.14.0-70.el9.x86_64+rt", "5.14.0-70.el9.x86_64+64k", "<><>><<"},
	} {
		for i, name := range columns {
			a, b := tt.a, tt.b
			switch {
			case tt.want[i] == '?': // rpm's own program cuts the release off first
				continue
			case name == "mkconfig":
				a, b = "vmlinuz-"+a, "vmlinuz-"+b
			case name == "sort -V" && tt.a == "1.010": // equal as versions, apart as names
				if vercmp.FileName(a, b) != 0 {
					t.Errorf("sort -V: %q and %q differ", a, b)
				}
				continue
			}
			check(t, name, names[name], a, b, tt.want[i])
		}
	}
}

// The chain of the UAPI Group's specification, and what systemd's tests add.
func TestUAPI(t *testing.T) {
	chain := strings.Fields("122.1 123~rc1-1 123 123-a 123-a.1 123-1 123-1.1 123^post1 123.a-1 123.1-1 123a-1")
	for i := range chain {
		for j := range i {
			check(t, "uapi", vercmp.UAPI, chain[i], chain[j], '>')
		}
	}
	check(t, "uapi", vercmp.UAPI, "1_2_3", "1.3.3", '>')
	check(t, "uapi", vercmp.UAPI, "1+", "1.2", '<')
	check(t, "uapi", vercmp.UAPI, "0.", "0", '>')
	check(t, "uapi", vercmp.UAPI, "a+3.conf", "a.conf", '>')
}

// Names of entries under blscfg: Red Hat 9, GRUB 2.14, systemd-boot.
func TestEntryNames(t *testing.T) {
	redHat := func(a, b string) int { return vercmp.BLSName(a, b, true) }
	redHat8 := func(a, b string) int { return vercmp.BLSName(a, b, false) }
	upstream := func(a, b string) int { return vercmp.FileName(a+".conf", b+".conf") }
	for _, tt := range []struct{ a, b, want string }{
		{"aaaa1111-5.14.0-427.el9.x86_64", "aaaa1111-0-rescue", ">>>>"},
		{"aaaa1111-5.14.0-503.el9.x86_64", "aaaa1111-5.14.0-427.el9.x86_64~custom", ">>>>"},
		{"aaaa1111-6.8.0-rc1", "aaaa1111-6.8.0", ">>>>"},
		{"custom", "aaaa1111-5.14.0-427.el9.x86_64", ">>>>"},
		{"a1-6.1.0+3", "a1-6.1.0", ">>>>"},
		{"aaaa1111-5.14.0-427.el9.x86_64", "ffff2222-0-rescue", "<<<<"},
		{"aaaa1111-5.14.0-427.el9.x86_64", "aaaa1111-5.14.0-427.el9.x86_64+debug", "<<<<"},
		{"aaaa1111-5.14.0-427.el9.x86_64", "aaaa1111-5.14.0-427.el9.x86_64-live", "<<<<"},
		{"ostree-1-fedora-coreos", "ostree-2-fedora-coreos", "<<<<"},
		{"nixos-generation-9", "nixos-generation-10", "<<<<"},
		{"aaaa1111-5.14.0-427.el9.x86_64", "aaaa1111-5.14.0-427.13.1.el9_4.x86_64", "<<><"},
		{"a1-4.18.0-80.el8.x86_64", "a1-4.18.0-80.1.2.el8_0.x86_64", "<<><"},
		{"1aaa1111-5.14.0-70.el9.x86_64", "ffff2222-5.14.0-427.el9.x86_64", ">><>"},
		{"aaaa1111-5.14.0-503.el9.x86_64", "aaaa1111-5.14.0-427.el9-debug.x86_64", "<<>>"},
		{"a.b", "a_b", "==<<"},
	} {
		for i, f := range []order{redHat, redHat8, upstream, vercmp.UAPI} {
			check(t, [...]string{"RHEL 9", "RHEL 8", "GRUB 2.14", "systemd-boot"}[i], f, tt.a, tt.b, tt.want[i])
		}
	}
}

// version makes up a version of the parts that versions are made of.
func version(r *rand.Rand, alphabet string) string {
	parts := strings.Fields(alphabet)
	var b strings.Builder
	b.WriteByte(byte('0' + r.IntN(3)))
	for range r.IntN(7) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return strings.TrimRight(b.String(), "-") // which dpkg refuses
}

// The programs whose orders these are judge made-up versions.
func TestPrograms(t *testing.T) {
	rpm := func(a, b string) ([]byte, error) {
		return exec.Command("rpm", "--eval", fmt.Sprintf("%%{lua:print(rpm.vercmp('%s', '%s'))}", a, b)).Output()
	}
	dpkg := func(a, b string) ([]byte, error) {
		for _, op := range []string{"lt", "eq", "gt"} {
			if exec.Command("dpkg", "--compare-versions", a, op, b).Run() == nil {
				return []byte(map[string]string{"lt": "-1", "eq": "0", "gt": "1"}[op]), nil
			}
		}
		return nil, fmt.Errorf("dpkg compares nothing")
	}
	systemd := func(a, b string) ([]byte, error) {
		out, err := exec.Command("systemd-analyze", "compare-versions", a, b).Output()
		f := strings.Fields(string(out))
		if len(f) != 3 { // the exit status tells the order as well
			return nil, err
		}
		return []byte(map[string]string{"<": "-1", "==": "0", ">": "1"}[f[1]]), nil
	}
	sortV := func(a, b string) ([]byte, error) {
		cmd := exec.Command("sort", "-V", "-s")
		cmd.Stdin = strings.NewReader(b + "\n" + a + "\n")
		out, err := cmd.Output()
		first, _, _ := strings.Cut(string(out), "\n")
		if first == b {
			return []byte(">="), err
		}
		return []byte("-1"), err
	}
	for _, tt := range []struct {
		program  string
		ask      func(a, b string) ([]byte, error)
		alphabet string
		f        order
	}{
		{"rpm", rpm, ". .. _ ~ ^ 1 01 10 a b rc el9 +", vercmp.RPM},
		{"dpkg", dpkg, ". - ~ + 1 01 10 a b rc Z", vercmp.Debian},
		{"systemd-analyze", systemd, ". - ~ ^ + _ 1 01 10 a b rc el9", vercmp.UAPI},
		{"sort", sortV, ". - ~ + _ ^ 1 01 10 a b .rc .el9 .conf", vercmp.FileName},
	} {
		t.Run(tt.program, func(t *testing.T) {
			if _, err := exec.LookPath(tt.program); err != nil {
				t.Skipf("%s is not installed", tt.program)
			}
			r := rand.New(rand.NewPCG(1, 2))
			for range 150 {
				a, b := version(r, tt.alphabet), version(r, tt.alphabet)
				out, err := tt.ask(a, b)
				if len(out) == 0 {
					t.Fatalf("%s %q %q: %v", tt.program, a, b, err)
				}
				got := fmt.Sprint(tt.f(a, b))
				if want := strings.TrimSpace(string(out)); got != want && (want != ">=" || got == "-1") {
					t.Errorf("%s: %q to %q is %s; want %s", tt.program, a, b, got, want)
				}
			}
		})
	}
}

// An order is one: it never contradicts its own mirror image.
func FuzzOrders(f *testing.F) {
	f.Add("1.0~rc1-1", "1.0^git+2")
	f.Fuzz(func(t *testing.T, a, b string) {
		for name, f := range names {
			if x, y := f(a, b), f(b, a); x != -y {
				t.Errorf("%s: %q to %q is %d, but %d the other way", name, a, b, x, y)
			}
			if f(a, a) != 0 {
				t.Errorf("%s: %q is not equal to itself", name, a)
			}
		}
	})
}
