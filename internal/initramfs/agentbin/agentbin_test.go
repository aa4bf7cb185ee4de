package agentbin

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestAgent(t *testing.T) {
	with := fstest.MapFS{"gild-init-amd64": {Data: []byte("\x7fELF")}}
	if got, err := agent(with, "amd64"); err != nil || string(got) != "\x7fELF" {
		t.Errorf("agent(amd64) = %q, %v; want the program", got, err)
	}
	for _, arch := range []string{"arm64", "../x", ""} {
		if got, err := agent(with, arch); err == nil || got != nil {
			t.Errorf("agent(%q) = %q, %v; want an error", arch, got, err)
		}
	}
	_, err := agent(with, "arm64")
	if missing, ok := errors.AsType[*MissingError](err); !ok || missing.Arch != "arm64" || !strings.Contains(missing.Hint(), "run `make`") {
		t.Errorf("agent(arm64) = %v; want a MissingError with the way to get one", err)
	}
}
