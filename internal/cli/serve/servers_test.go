package serve_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

var gild = clitest.Main(cli.Main)

// TestMain makes this binary gild where it is called so.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gild": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Host())) },
	})
}

func TestServers(t *testing.T) {
	f := clitest.NewFake(t)
	if got := gild.Ask(t, f, "servers"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "http://192.0.2.1:8080") {
		t.Errorf("%+v", got)
	}
}
