package machine

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/term"
)

func TestMachineTable(t *testing.T) {
	for _, width := range []int{40, 80, 200, 0} {
		var b strings.Builder
		machineList(clitest.Fleet(), clitest.Noon).Table(false).Write(&b, width, term.Palette{})
		clitest.Golden(t, fmt.Sprintf("machines-%d.txt", width), b.String())
		for line := range strings.Lines(b.String()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); width > 60 && n > width {
				t.Errorf("width %d: a line has %d cells: %s", width, n, line)
			}
		}
	}
	var b strings.Builder
	machineList(clitest.Fleet(), clitest.Noon).Table(false).Write(&b, 80, term.Palette{On: true})
	if !strings.Contains(b.String(), "\x1b[31mfailed") {
		t.Errorf("with colour:\n%s", b.String())
	}
	if plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(b.String(), ""); plain == b.String() {
		t.Error("there is no colour")
	} else if got, _ := os.ReadFile("testdata/golden/machines-80.txt"); string(got) != plain {
		t.Errorf("colour moves columns:\n%s", plain)
	}
}
