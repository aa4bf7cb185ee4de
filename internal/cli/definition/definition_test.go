package definition_test

import (
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

var gild = clitest.Main(cli.Main)

// Groups and identities are listed, and one that is named goes by force alone.
func TestGroupsAndIdentities(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	f.Uses = map[string][]api.Use{"rack-b7": {{Kind: api.UseMember, Name: "web-1"}}}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"group ls", "rack-b7  rack=b7", exit.CodeOK},
		{"groups list -o name", "rack-b7\n", exit.CodeOK},
		{"group ls --json", `"machines": 2`, exit.CodeOK},
		{"identity ls -q", "plain\n", exit.CodeOK},
		{"group rm rack-b7", `group "rack-b7" is in use: machine web-1 is in it`, exit.CodeRefused},
		{"group rm rack-b7 --force", "group rack-b7 removed\n  machine web-1 is in it\n", exit.CodeOK},
		{"identity rm plain --json", `"kind": "identity"`, exit.CodeOK},
		{"identity rm nobody plain", "identity plain removed\n", exit.CodeNotFound},
		{"help identity", "An identity makes each clone", exit.CodeOK},
	} {
		got := gild.Ask(t, f, strings.Fields(tt.args)...)
		if got.Code != tt.code || !strings.Contains(got.Stdout+got.Stderr, tt.want) {
			t.Errorf("gild %s: %+v; want code %d and %q", tt.args, got, tt.code, tt.want)
		}
	}
}

// A person is asked, and nothing goes without the answer.
func TestRemovalAsks(t *testing.T) {
	f := clitest.NewFake(t)
	p := clitest.NewPTY(t, 80, 24)
	code := gild.On(t, p, f, nil, "group", "rm", "rack-b7")
	p.Expect(t, "Type yes to remove them")
	if _, err := p.Main.WriteString("no\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != exit.CodeRefused {
		t.Errorf("exit code %d; want %d", got, exit.CodeRefused)
	}
	for _, asked := range f.Asked {
		if strings.HasPrefix(asked, "DELETE") {
			t.Errorf("asked the server: %s", asked)
		}
	}
}
