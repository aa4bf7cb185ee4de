package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

// What root makes in the directory of a service's user is that user's, and
// nothing outside of it is.
func TestLeaveToOwner(t *testing.T) {
	tier.Root(t, "gives files to another user")
	const user = 65534
	outside := filepath.Join(t.TempDir(), "shadow")
	data := t.TempDir()
	for _, path := range []string{outside, filepath.Join(data, "made"), filepath.Join(data, "images", "blob")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(data, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(data, "folder")); err != nil {
		t.Fatal(err)
	}
	owners := func() (of []int) {
		for _, path := range []string{data, data + "/made", data + "/images", data + "/images/blob", data + "/link", data + "/folder", outside} {
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			uid, _ := owner(info)
			of = append(of, uid)
		}
		return of
	}

	if err := leaveToOwner(data); err != nil {
		t.Fatal(err)
	}
	for i, uid := range owners() {
		if uid != 0 {
			t.Errorf("in root's own directory: file %d is user %d's", i, uid)
		}
	}

	if err := os.Chown(data, user, user); err != nil {
		t.Fatal(err)
	}
	if err := leaveToOwner(data); err != nil {
		t.Fatal(err)
	}
	got := owners()
	for i, uid := range got[:len(got)-1] {
		if uid != user {
			t.Errorf("file %d is user %d's, want %d", i, uid, user)
		}
	}
	if got[len(got)-1] != 0 {
		t.Error("a link led to a file outside, which was given away")
	}
	if err := leaveToOwner(filepath.Join(data, "not", "there")); err != nil {
		t.Error(err)
	}
}
