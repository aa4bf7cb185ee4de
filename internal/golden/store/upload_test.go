package store

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gild-dev/gild/internal/golden"
)

// upload is an image of one store on its way into another.
type upload struct {
	manifest []byte
	parts    []golden.Descriptor
	blob     map[golden.Digest][]byte
}

func newUpload(t *testing.T, content byte) upload {
	t.Helper()
	from, err := Open(filepath.Join(t.TempDir(), "from"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := put(t, from, "web", content)
	if err != nil {
		t.Fatal(err)
	}
	im, err := from.Image("web")
	if err != nil {
		t.Fatal(err)
	}
	u := upload{parts: append([]golden.Descriptor{im.Manifest.Config}, im.Manifest.Layers...), blob: map[golden.Digest][]byte{}}
	if u.manifest, err = from.ReadBlob(d, golden.MaxManifestSize); err != nil {
		t.Fatal(err)
	}
	for _, p := range u.parts {
		if u.blob[p.Digest], err = from.ReadBlob(p.Digest, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An image arrives whole however often its upload is cut, and nothing is seen
// of it before.
func TestUploadThatIsCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	cut := errors.New("cut")
	u, s := newUpload(t, 7), newStore(t)
	for _, part := range u.parts {
		for {
			n, whole, err := s.Uploads().Received(part.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if whole {
				break
			}
			if _, _, err := s.Uploads().Commit(t.Context(), "web", u.manifest); !errors.Is(err, ErrMissing) {
				t.Fatalf("an image that is not whole = %v; want ErrMissing", err)
			}
			rest := u.blob[part.Digest][n:]
			some := random.IntN(len(rest) + 1)
			var r io.Reader = bytes.NewReader(rest)
			if some < len(rest) {
				r = io.MultiReader(bytes.NewReader(rest[:some]), iotest.ErrReader(cut))
			}
			got, err := s.Uploads().Receive(part.Digest, part.Size, n, r)
			if got != n+int64(some) || some < len(rest) && !errors.Is(err, cut) || some == len(rest) && err != nil {
				t.Fatalf("Receive = %d, %v; want %d", got, err, n+int64(some))
			}
		}
	}
	if named, err := s.List(); len(named) > 0 || err != nil {
		t.Fatalf("before it has a name: %v, %v", named, err)
	}
	image, before, err := s.Uploads().Commit(t.Context(), "web", u.manifest)
	if err != nil || before != "" || image != golden.DigestOf(u.manifest) {
		t.Fatalf("Commit = %s, %q, %v", image, before, err)
	}
	if _, err := s.Image("web"); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.path(uploadDir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// It is there already: nothing is sent, and it gets another name.
	for _, part := range u.parts {
		if n, whole, err := s.Uploads().Received(part.Digest); n != part.Size || !whole || err != nil {
			t.Errorf("Received = %d, %v, %v of what is stored", n, whole, err)
		}
	}
	if image, _, err := s.Uploads().Alias(t.Context(), "db", "web"); err != nil || image != golden.DigestOf(u.manifest) {
		t.Errorf("Alias = %s, %v", image, err)
	}
	if err := s.Remove(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Image("db"); err != nil {
		t.Errorf("under its other name: %v", err)
	}
}

func TestUploadThatIsWrong(t *testing.T) {
	u, s := newUpload(t, 7), newStore(t)
	part := u.parts[0]
	whole := u.blob[part.Digest]
	if _, err := s.Uploads().Receive(part.Digest, part.Size, 5, bytes.NewReader(whole)); !errors.Is(err, ErrOffset) {
		t.Errorf("bytes with a gap before them = %v; want ErrOffset", err)
	}
	if n, err := s.Uploads().Receive(part.Digest, part.Size, 0, bytes.NewReader(whole[:9])); n != 9 || err != nil {
		t.Fatalf("Receive = %d, %v", n, err)
	}
	if n, err := s.Uploads().Receive(part.Digest, part.Size, 0, bytes.NewReader(whole)); n != 9 || !errors.Is(err, ErrOffset) {
		t.Errorf("bytes that are here = %d, %v; want 9, ErrOffset", n, err)
	}
	bad := bytes.Clone(whole[9:])
	bad[0]++
	if n, err := s.Uploads().Receive(part.Digest, part.Size, 9, bytes.NewReader(bad)); n != 0 || !errors.Is(err, ErrDigest) {
		t.Errorf("other bytes = %d, %v; want 0, ErrDigest", n, err)
	}
	if n, whole, err := s.Uploads().Received(part.Digest); n != 0 || whole || err != nil {
		t.Errorf("after other bytes: %d, %v, %v; want nothing left", n, whole, err)
	}
	// What is more than it should be is not read.
	long := strings.NewReader(string(whole) + "more")
	if n, err := s.Uploads().Receive(part.Digest, part.Size, 0, long); n != part.Size || err != nil || long.Len() != 4 {
		t.Errorf("a longer body = %d, %v, %d bytes left", n, err, long.Len())
	}
	if _, err := s.Uploads().Receive(u.parts[1].Digest, 1<<60, 0, strings.NewReader("x")); !errors.Is(err, ErrRoom) {
		t.Errorf("a blob larger than the disk = %v; want ErrRoom", err)
	}
	if _, err := s.Uploads().Receive("sha256:../../../../etc/passwd", 1, 0, strings.NewReader("x")); err == nil {
		t.Error("a digest that is a path = nil")
	}
}

// Two uploads of one blob at once do not mix.
func TestUploadOfOneBlobTwice(t *testing.T) {
	u, s := newUpload(t, 7), newStore(t)
	part := u.parts[0]
	whole := u.blob[part.Digest]
	slow, feed := io.Pipe()
	var first sync.WaitGroup
	first.Go(func() {
		if n, err := s.Uploads().Receive(part.Digest, part.Size, 0, slow); n != part.Size || err != nil {
			t.Errorf("the first upload = %d, %v", n, err)
		}
	})
	if _, err := feed.Write(whole[:1]); err != nil { // it has the lock now
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 1} {
		if _, err := s.Uploads().Receive(part.Digest, part.Size, offset, bytes.NewReader(whole[offset:])); !errors.Is(err, ErrBusy) {
			t.Errorf("the second upload = %v; want ErrBusy", err)
		}
	}
	if _, err := feed.Write(whole[1:]); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	first.Wait()
}

// What nobody continues with is gone after a day.
func TestOldUploadsGo(t *testing.T) {
	u, s := newUpload(t, 7), newStore(t)
	for _, part := range u.parts {
		if _, err := s.Uploads().Receive(part.Digest, part.Size, 0, bytes.NewReader(u.blob[part.Digest][:1])); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Uploads().Sweep(time.Now().Add(uploadKept - time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path(uploadDir)); len(left) != len(u.parts) {
		t.Errorf("%d are kept; want %d", len(left), len(u.parts))
	}
	if _, err := s.Uploads().Sweep(time.Now().Add(uploadKept + time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path(uploadDir)); len(left) != 0 {
		t.Errorf("%d are kept after more than a day", len(left))
	}
}

// Two images that get one name at the same moment: one of them has it, whole,
// and of the other nothing is left but what both have.
func TestTwoCommitsUnderOneName(t *testing.T) {
	one, two := newUpload(t, 1), newUpload(t, 2)
	for range 30 {
		s := newStore(t)
		for _, u := range []upload{one, two} {
			for _, part := range u.parts {
				if _, err := s.Uploads().Receive(part.Digest, part.Size, 0, bytes.NewReader(u.blob[part.Digest])); err != nil {
					t.Fatal(err)
				}
			}
		}
		type end struct {
			before golden.Digest
			err    error
		}
		ends, start := make([]end, 2), make(chan struct{})
		var both sync.WaitGroup
		for i, u := range []upload{one, two} {
			both.Go(func() {
				<-start
				_, ends[i].before, ends[i].err = s.Uploads().Commit(t.Context(), "web", u.manifest)
			})
		}
		close(start)
		both.Wait()
		digests := []golden.Digest{golden.DigestOf(one.manifest), golden.DigestOf(two.manifest)}
		last := 0
		if ends[1].before == digests[0] {
			last = 1
		}
		if ends[0].err != nil || ends[1].err != nil || ends[last].before != digests[1-last] || ends[1-last].before != "" {
			t.Fatalf("ends %+v; want the one replaced by the other", ends)
		}
		im, err := s.Image("web")
		if err != nil || im.Digest != digests[last] {
			t.Fatalf("Image = %v, %v; want the last, %s", im, err, digests[last].Short())
		}
		want := map[string]bool{"oci-layout": true, "index.json": true, "lock": true}
		for d := range []upload{one, two}[last].blob {
			if _, err := s.ReadBlob(d, 1<<30); err != nil {
				t.Errorf("of the last: %v", err)
			}
			want["blobs/sha256/"+d.Hex()] = true
		}
		want["blobs/sha256/"+im.Digest.Hex()] = true
		for _, file := range files(t, s) {
			if !want[file] {
				t.Errorf("left behind: %s", file)
			}
		}
	}
}
