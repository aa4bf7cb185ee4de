package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// The server that runs on the data directory is asked who names an image.
func TestRmAsksTheServer(t *testing.T) {
	f := clitest.NewFake(t)
	f.Uses = map[string][]api.Use{"web": {{Kind: api.UseGroup, Name: "racks"}}}
	data := t.TempDir()
	if got := gild.Run(t, data, clitest.Disk(8<<10), "image", "add", "web", "-"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	f.ServeLocally(t, data)
	got := gild.Run(t, data, nil, "image", "rm", "web")
	if got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "group racks names it") {
		t.Errorf("%+v; want it refused", got)
	}
	if got := gild.Run(t, data, nil, "image", "rm", "--force", "web"); got.Code != exit.CodeOK ||
		!strings.Contains(got.Stdout, "web removed\n  group racks names it") {
		t.Errorf("by force: %+v", got)
	}
}

// Without a server nobody knows what the state in the directory says of it.
func TestRmBesideAStateAtRest(t *testing.T) {
	data := t.TempDir()
	if got := gild.Run(t, data, clitest.Disk(8<<10), "image", "add", "web", "-"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if err := os.MkdirAll(filepath.Join(data, "etcd", "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := gild.Run(t, data, nil, "image", "rm", "web"); got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "no server runs") {
		t.Errorf("%+v; want it refused", got)
	}
	if got := gild.Run(t, data, nil, "image", "rm", "--force", "web"); got.Code != exit.CodeOK || got.Stdout != "web removed\n" {
		t.Errorf("by force: %+v", got)
	}
}
