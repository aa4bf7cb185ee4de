package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/version"
	"github.com/gild-dev/gild/internal/wholefile"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "write the man pages to a directory",
		Long: `Write a man page for every command to a directory, and one for every topic of
gild help, in section 7: beside DIR where that is called man1. SOURCE_DATE_EPOCH
sets the date in them.`,
		Example: "  gild man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // who generated it says nothing
			date, err := pageDate()
			if err != nil {
				return err
			}
			header := &doc.GenManHeader{Section: "1", Date: &date, Source: "gild " + version.String(), Manual: "gild"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			return writeTopics(date, args[0])
		},
	}
}

// pageDate is what the pages are dated with: the same sources give the same
// pages (reproducible-builds.org, SOURCE_DATE_EPOCH).
func pageDate() (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Now(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, exit.Usage(fmt.Errorf("SOURCE_DATE_EPOCH=%.60q is not a number of seconds", epoch))
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeTopics writes the pages that are about no command.
func writeTopics(date time.Time, dir string) error {
	if filepath.Base(dir) == "man1" {
		dir = filepath.Join(filepath.Dir(dir), "man7")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, topic := range topics() {
		if err := wholefile.Bytes(filepath.Join(dir, "gild-"+topic.Name()+".7"), 0o644, topicPage(topic, date)); err != nil {
			return fmt.Errorf("writing man pages: %w", err)
		}
	}
	return nil
}

// topicPage is a topic in the language of man(7), with its lines as they are.
func topicPage(topic *cobra.Command, date time.Time) []byte {
	name := "gild-" + topic.Name()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 7 %q %q %q\n", strings.ToUpper(name), date.Format("Jan 2006"), "gild "+version.String(), "gild")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n", strings.ReplaceAll(name, "-", `\-`), topic.Short)
	for line := range strings.Lines(topic.Long + "\n") {
		line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line // it would be a request
		}
		b.WriteString(line)
	}
	b.WriteString(".fi\n.SH SEE ALSO\n\\fBgild(1)\\fP\n")
	return []byte(b.String())
}
