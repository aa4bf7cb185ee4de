package ipxe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNBP(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "arm64-efi")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"undionly.kpxe", "ipxe.efi", "arm64-efi/snponly.efi"} {
		if err := os.WriteFile(filepath.Join(dir, p), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Find(filepath.Join(dir, "absent"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ipxe.efi", "snponly-arm64.efi", "undionly.kpxe"}, files.Names()); diff != "" {
		t.Errorf("Names() (-want +got):\n%s", diff)
	}
	want := map[Arch]string{
		0: "undionly.kpxe", 7: "ipxe.efi", 9: "ipxe.efi", 16: "ipxe.efi", 11: "snponly-arm64.efi", 19: "snponly-arm64.efi",
	}
	// Every code of the registry and beyond: a file or an error that says why,
	// never both or none.
	for a := range Arch(64) {
		got, err := files.NBP(a)
		if got != want[a] {
			t.Errorf("NBP(%v) = %q, %v; want %q", a, got, err, want[a])
		}
		if e, ok := errors.AsType[*UnsupportedError](err); want[a] == "" && (!ok || e.Why == "" || e.Arch != a) {
			t.Errorf("NBP(%v) = %v; want an UnsupportedError with a reason", a, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "snponly.efi"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if files, err = Find(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := files.NBP(EFIX64); got != "snponly.efi" || err != nil {
		t.Errorf("NBP(EFIX64) = %q, %v; want snponly.efi, which uses the firmware's own driver", got, err)
	}
	if p, ok := files.Path("snponly-arm64.efi"); !ok || p != filepath.Join(sub, "snponly.efi") {
		t.Errorf("Path(snponly-arm64.efi) = %q, %v", p, ok)
	}
	if _, ok := files.Path("../undionly.kpxe"); ok {
		t.Error("Path of a name that was not found = ok")
	}
}

func TestFindNothing(t *testing.T) {
	files, err := Find(t.TempDir())
	if _, ok := errors.AsType[*MissingError](err); !ok || !strings.Contains(err.Error(), "apt-get install ipxe") {
		t.Errorf("Find(empty) = %v; want a MissingError that names the package", err)
	}
	if _, err := files.NBP(BIOS); err == nil {
		t.Error("NBP without files = nil error")
	}
}

func TestFindDebian(t *testing.T) {
	files, err := Find()
	if err != nil {
		t.Skip(err)
	}
	for _, a := range []Arch{BIOS, EFIX64} {
		if n, err := files.NBP(a); err != nil {
			t.Errorf("NBP(%v) = %q, %v with the distribution's files %v", a, n, err, files.Names())
		}
	}
}

func TestArchString(t *testing.T) {
	for a, want := range map[Arch]string{7: "EFI x86-64 (7)", 999: "unknown (999)"} {
		if got := a.String(); got != want {
			t.Errorf("Arch.String() = %q; want %q", got, want)
		}
	}
}
