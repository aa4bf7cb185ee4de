package serve_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/lockedbuf"
	"github.com/gild-dev/gild/internal/server/ipxe"
)

// The commands and the real server understand each other.
func TestRealServer(t *testing.T) {
	if _, err := ipxe.Find(); err != nil {
		t.Skipf("gild serve needs iPXE: %v", err)
	}
	if _, err := agentbin.Agent("amd64"); err != nil {
		t.Skipf("gild serve needs the agent: %v", err)
	}
	clitest.LoopbackServer(t)
	data, operator := t.TempDir(), "127.0.0.1:"+clitest.FreePort(t)
	if got := gild.Run(t, data, nil, "image", "add", "web", clitest.RootDisk(t), "--kernel", clitest.KernelFile(t)); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan int, 1)
	var log lockedbuf.Buffer
	go func() {
		served <- gild(ctx, []string{
			"serve", "--interface", "lo", "--dhcp", "off", "--port", clitest.FreePort(t), "--operator", operator,
			"--data", data,
		},
			app.Surroundings{Stdin: &bytes.Buffer{}, Stdout: &log, Stderr: &log, Getenv: func(string) string { return "" }})
	}()
	run := func(args ...string) clitest.Outcome { return gild.Run(t, data, nil, args...) } // by the socket
	for start := time.Now(); run("servers").Code == exit.CodeNoServer; time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("no server comes up: %s", log.String())
		}
	}
	for _, tt := range []struct {
		line string
		code int
		say  string
	}{
		{"machine add web-1 --mac 52:54:00:00:00:01 --label rack=b7 --image web", exit.CodeOK, "web-1 is registered"},
		{"machine add web-2 --mac 52:54:00:00:00:02 --label rack=b7", exit.CodeOK, "web-2 is registered"},
		{"machine add web-2 --mac 52:54:00:00:00:03", exit.CodeRefused, "web-2"},
		{"machine add bad/name --mac 52:54:00:00:00:04", exit.CodeUsage, "name"},
		{"machine edit web-2 --label role=db", exit.CodeOK, "web-2 changed"},
		{"machine ls -l role=db", exit.CodeOK, "rack=b7,role=db"},
		{"flash web-1", exit.CodeRefused, "--yes"},
		{"flash -l rack=b7 --image web --unseen --yes", exit.CodeOK, "2 of 2 armed"},
		{"machine ls", exit.CodeOK, "armed"},
		{"machine show web-1", exit.CodeOK, "web on its only disk"},
		{"events", exit.CodeOK, "-> armed"},
		{"events --machine web-2 --json", exit.CodeOK, `"to":"armed"`},
		{"cancel -l rack=b7", exit.CodeOK, "web-1 disarmed"},
		{"watch web-1", exit.CodeOK, "registered"},
		{"flash web-1 --image nosuch --unseen --yes", exit.CodeNotFound, "nosuch"},
		{"flash 52:54:00:00:00:99 --image web --yes", exit.CodeNotFound, "52:54:00:00:00:99"},
		{"apply", exit.CodeUsage, "-f"},
		{"apply -f gone.yaml", exit.CodeNotFound, "gone.yaml"},
		{"apply -f ../../../contrib/fleet.yaml --dry-run", exit.CodeDiffers, "+ identity node"},
		{"apply -f testdata/fleet/first.yaml", exit.CodeOK, "+ machine app-1"},
		{"apply -f testdata/fleet/first.yaml", exit.CodeOK, "no changes"},
		{"apply -f testdata/fleet/first.yaml --json", exit.CodeOK, `"changes": []`},
		{"apply -f testdata/fleet/second.yaml --dry-run --prune", exit.CodeDiffers, "~ machine app-1: labels.rack b7 -> b8"},
		{"apply -f testdata/fleet/second.yaml --prune", exit.CodeOK, "- machine app-2"},
		{"machine show app-2", exit.CodeNotFound, "app-2"},
		{"flash app-1 --unseen --dry-run", exit.CodeOK, "identity: node"},
		{"apply -f testdata/fleet/typing.yaml", exit.CodeInput, "typing.yaml:3:5: machines[0].lables: unknown key; is labels meant?"},
		{"apply -f testdata/fleet/meaning.yaml", exit.CodeInput, "meaning.yaml:6:15: groups[0].selector: "},
		{"apply -f testdata/fleet/meaning.yaml", exit.CodeInput, "meaning.yaml:2:5: machines[0]: "},
		{"machine ls -o name --sort -machine -l rack=b8", exit.CodeOK, "app-1\n"},
		{"machine ls -o wide", exit.CodeOK, "SERIAL"},
		{"machine ls --sort colour", exit.CodeUsage, "machine, state, image, default, group, labels, seen, since, address, mac, serial, last"},
		{"machine show app-1 -o name", exit.CodeUsage, "-o name is for lists"},
		{"machine show app-1 -o yaml", exit.CodeOK, "\n  name: app-1\n"},
		{"servers -q", exit.CodeOK, "\n"},
		{"state backup " + filepath.Join(t.TempDir(), "backup") + " -o json", exit.CodeOK, `"machines": `},
		{"state check --json", exit.CodeOK, `"problems": []`},
		{"token new -o yaml", exit.CodeOK, "token: gild-"},
		{"image rm web", exit.CodeRefused, "image \"web\" is in use: machine web-1 names it, group app names it"},
		{"machine rm 52-54-00-00-00-02 --json", exit.CodeOK, `"name": "web-2"`},
		{"machine show web-2", exit.CodeNotFound, "web-2"},
		{"apply -f ../../../contrib/fleet.yaml", exit.CodeOK, "+ machine db-1"},
		{"apply -f ../../../contrib/fleet.yaml", exit.CodeOK, "no changes"},
	} {
		got := run(strings.Fields(tt.line)...)
		if got.Code != tt.code || !strings.Contains(got.Stdout+got.Stderr, tt.say) {
			t.Errorf("gild %s: %+v; want exit code %d and %q", tt.line, got, tt.code, tt.say)
		}
	}
	stop()
	<-served
}
