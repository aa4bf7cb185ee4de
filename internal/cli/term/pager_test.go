package term_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// A list that is longer than the terminal goes through the pager, at the
// terminal's width; nothing else does.
func TestPager(t *testing.T) {
	gild := clitest.Main(cli.Main)
	var machines []api.Machine
	for i := range 20 {
		machines = append(machines, api.Machine{
			ID: fmt.Sprintf("m%d", i), Spec: api.Spec{Name: fmt.Sprintf("web-%d", i)}, State: api.MachineRegistered,
		})
	}
	const mark = "> shown by the pager: "
	pager := func(name string) string { return "sed 's/^/> shown by " + name + ": /'" }
	for _, tt := range []struct {
		name, args string
		env        map[string]string
		rows       uint16
		paged      bool
	}{
		{"long", "machine ls", map[string]string{"GILD_PAGER": pager("the pager")}, 10, true},
		{"PAGER", "machine ls", map[string]string{"PAGER": pager("the pager")}, 10, true},
		{"both", "machine ls", map[string]string{"PAGER": pager("another"), "GILD_PAGER": pager("the pager")}, 10, true},
		{"show", "machine show web-1", map[string]string{"PAGER": pager("the pager")}, 4, true},
		{"fits", "machine ls", map[string]string{"PAGER": pager("the pager")}, 30, false},
		{"refused", "machine ls --no-pager", map[string]string{"PAGER": pager("the pager")}, 10, false},
		{"JSON", "machine ls -o json", map[string]string{"PAGER": pager("the pager")}, 10, false},
		{"none", "machine ls", nil, 10, false},
		{"not there", "machine ls", map[string]string{"PAGER": filepath.Join(t.TempDir(), "none")}, 10, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := clitest.NewFake(t, machines...)
			p := clitest.NewPTY(t, 60, tt.rows)
			if got := <-gild.On(t, p, f, tt.env, strings.Fields(tt.args)...); got != exit.CodeOK {
				t.Errorf("exit code %d", got)
			}
			p.Expect(t, "web-1")
			if tt.paged {
				p.Expect(t, mark)
			} else if strings.Contains(p.Text(), "shown by") {
				t.Errorf("shown by the pager: %q", p.Text())
			}
		})
	}
	out := gild.Run(t, t.TempDir(), nil, "--server", clitest.NewFake(t, machines...).URL, "machine", "ls")
	if strings.Count(out.Stdout, "\n") != 21 {
		t.Errorf("away from a terminal: %+v", out)
	}
}

// What is left before its end is no failure.
func TestPagerThatIsLeft(t *testing.T) {
	gild := clitest.Main(cli.Main)
	var machines []api.Machine
	for i := range 3000 { // more than a pipe holds
		machines = append(machines, api.Machine{
			ID: fmt.Sprintf("m%d", i), Spec: api.Spec{Name: fmt.Sprintf("web-%d", i)}, State: api.MachineRegistered,
		})
	}
	p := clitest.NewPTY(t, 60, 10)
	env := map[string]string{"PAGER": "head -n 2; exit 3"}
	if got := <-gild.On(t, p, clitest.NewFake(t, machines...), env, "machine", "ls"); got != exit.CodeOK {
		t.Errorf("exit code %d; want %d", got, exit.CodeOK)
	}
	p.Expect(t, "web-0")
}
