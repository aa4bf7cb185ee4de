package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
)

// typed are the command lines of gild in a document: what follows "$ " in a
// block of code, its continued lines joined, cut where the shell continues to
// something else.
func typed(document string) []string {
	var lines []string
	inBlock := false
	document = strings.ReplaceAll(document, "\\\n", " ")
	for line := range strings.Lines(document) {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
			continue
		}
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok || !inBlock {
			continue
		}
		for _, part := range shellEnd.Split(command, -1) {
			part = strings.TrimPrefix(strings.TrimSpace(part), "sudo ")
			if strings.HasPrefix(part, "gild ") {
				lines = append(lines, strings.TrimSpace(comment.ReplaceAllString(part, "")))
			}
		}
	}
	return lines
}

var (
	shellEnd = regexp.MustCompile(`\||&&|;| [0-9]?>|<`)
	comment  = regexp.MustCompile(`\s+#.*`)
	words    = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// parse holds a command line against the commands and flags that there are.
func parse(line string) error {
	root := root(&app.App{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var args []string
	for _, w := range words.FindAllString(line, -1)[1:] {
		args = append(args, strings.Trim(w, `'"`))
	}
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasSubCommands() && len(cmd.Flags().Args()) > 0 {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), cmd.Flags().Args()[0])
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return nil
	}
	return cobra.PositionalArgs(func(c *cobra.Command, args []string) error {
		if c.Args == nil {
			return nil
		}
		return c.Args(c, args)
	})(cmd, cmd.Flags().Args())
}

// mentioned are the commands in the running text of a document, such as `gild
// image rm NAME`.
func mentioned(document string) (lines []string) {
	inBlock := false
	for paragraph := range strings.SplitSeq(document, "\n\n") {
		for line := range strings.Lines(paragraph) {
			if strings.HasPrefix(line, "```") {
				inBlock = !inBlock
			}
		}
		if inBlock || strings.Contains(paragraph, "```") {
			continue
		}
		for _, m := range inline.FindAllStringSubmatch(strings.ReplaceAll(paragraph, "\n", " "), -1) {
			lines = append(lines, m[1])
		}
	}
	return lines
}

var word = regexp.MustCompile(`^[a-z]+$`)

var inline = regexp.MustCompile("`(?:sudo )?(gild [^`]+)`")

// exists holds the words of a command and its flags against those that there
// are; what they are given is left open.
func exists(line string) error {
	root := root(&app.App{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	words := strings.Fields(line)[1:]
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() && len(rest) > 0 && word.MatchString(rest[0]) {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), rest[0])
	}
	for _, w := range words {
		name, isFlag := strings.CutPrefix(strings.Trim(w, "[]|,."), "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && name != "" && name != "help" && name != "version" && cmd.Flag(name) == nil {
			return fmt.Errorf("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return nil
}

// What the documents say to type is what there is to type.
func TestDocumentsTypeWhatThereIs(t *testing.T) {
	const root = "../.."
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "packaging/*", "contrib/*.service"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := func(line string, err error) {
			n++
			if err != nil {
				t.Errorf("%s: %s: %v", strings.TrimPrefix(file, root+"/"), line, err)
			}
		}
		for _, line := range typed(string(text)) {
			said(line, parse(line))
		}
		for _, line := range mentioned(string(text)) {
			said(line, exists(line))
		}
	}
	if n < 100 {
		t.Errorf("%d command lines were found; the documents have more", n)
	}
	for _, wrong := range []string{"gild image frobnicate", "gild flash --imaeg web m", "gild image rename one"} {
		if parse(wrong) == nil {
			t.Errorf("%s is taken for a command", wrong)
		}
	}
	for _, wrong := range []string{"gild frobnicate", "gild image frobnicate NAME", "gild flash --imaeg NAME"} {
		if exists(wrong) == nil {
			t.Errorf("%s is taken for a command", wrong)
		}
	}
}

// keepers are the commands on the data directory of the service, which is
// root's or the service's own.
var keepers = []string{"serve", "doctor", "state", "token", "kernel", "image add"}

// unprivileged are the command lines of a document that need root's rights, and
// that are typed as nobody in particular: without sudo, and before it has said
// that what follows is typed in a root shell.
func unprivileged(document string) (lines []string) {
	before, _, _ := strings.Cut(document, "typed in a root shell")
	inBlock := false
	for line := range strings.Lines(before) {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
		}
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ gild ")
		if !ok || !inBlock || strings.Contains(command, "--data") || strings.Contains(command, "--server") {
			continue
		}
		for _, k := range keepers {
			if command == k || strings.HasPrefix(command, k+" ") {
				lines = append(lines, command)
			}
		}
	}
	return lines
}

// What is typed works for who types it.
func TestDocumentsTypeAsWhoMay(t *testing.T) {
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range unprivileged(string(text)) {
				t.Errorf("%s: $ gild %s: an ordinary user has not the rights: sudo", filepath.Base(file), line)
			}
		}
	}
	const wrong = "```console\n$ gild state backup FILE\n$ sudo gild state check\n$ gild machine ls\n```\n" +
		"Now typed in a root shell.\n```\n$ gild token new\n```\n"
	if got := unprivileged(wrong); len(got) != 1 || got[0] != "state backup FILE" {
		t.Errorf("found %q; want the one line that nobody in particular may type", got)
	}
}
