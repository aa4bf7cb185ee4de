// Package login is the commands about the servers that a user works with.
package login

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/logins"
	"github.com/gild-dev/gild/internal/cli/term"
)

// command is run with what every command works with.
type command struct{ *app.App }

const loginLong = `Log in to a server, and work with it from now on.

The admin token is asked for, or read from --token-file, GILD_TOKEN_FILE,
GILD_TOKEN or standard input. Token and certificate are tried before they are kept,
in ~/.config/gild/logins.json (XDG_CONFIG_HOME), which only you can read.

A certificate that nothing on this machine vouches for is shown with its
fingerprint: compare it with that on the server. Away from a terminal give it with
--fingerprint.

The server that you have logged in to last is the one that commands talk to where
neither --server (GILD_SERVER) nor --data (GILD_DATA) is given. gild context ls
shows all of them, gild context use changes to another.`

// options are the flags of gild login.
type options struct{ name, fingerprint string }

// Command is `gild login`.
func Command(a *app.App) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "login URL",
		Short: "log in to a server elsewhere",
		Long:  loginLong,
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return command{a}.login(cmd.Context(), args[0], o) },
	}
	cmd.Flags().StringVar(&o.name, "name", "", "what to `call` it (default: its host and port)")
	cmd.Flags().StringVar(&o.fingerprint, "fingerprint", "", "SHA-256 `fingerprint` of the server's certificate")
	return cmd
}

// LogoutCommand is `gild logout`.
func LogoutCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [NAME]",
		Short: "forget a server that you have logged in to (default: the current one)",
		Long: `Forget a server that you have logged in to, its token and certificate.

The token itself stays valid: gild token new on the server revokes it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return command{a}.logout(strings.Join(args, "")) },
	}
}

// ContextCommand is `gild context`.
func ContextCommand(a *app.App) *cobra.Command {
	c := command{a}
	cmd := &cobra.Command{Use: "context", Short: "the servers that you have logged in to"}
	var o term.ListOptions
	ls := &cobra.Command{
		Use: "ls", Short: "list the servers that you have logged in to", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.list(o) },
	}
	flags.List(ls, &o)
	rm := &cobra.Command{
		Use: "rm NAME", Short: "forget a server, as gild logout NAME does", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.logout(args[0]) },
	}
	cmd.AddCommand(ls, rm, &cobra.Command{
		Use: "use NAME", Short: "work with another of these servers", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.use(args[0]) },
	})
	return cmd
}

func (c command) login(ctx context.Context, at string, o options) error {
	at = strings.TrimSuffix(at, "/")
	base, err := url.Parse(at)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.Path != "" {
		return exit.Usage(exit.Hint(fmt.Errorf("%.100q is not the URL of a server", at), "give https://HOST:PORT"))
	}
	switch inTheClear := base.Scheme == "http"; {
	case inTheClear && !app.Loopback(base.Hostname()):
		return app.InTheClear(at)
	case inTheClear && o.fingerprint != "":
		return exit.Usage(fmt.Errorf("%s has no certificate: --fingerprint is for https", at))
	case c.CA != "" && o.fingerprint != "":
		return exit.Usage(errors.New("--ca and --fingerprint are two ways to know a server: give one"))
	}
	c.URL = at
	new := logins.Login{Name: o.name, URL: at}
	if new.Name == "" {
		new.Name = base.Host
	}
	switch {
	case c.CA != "":
		pem, err := c.CAFile()
		if err != nil {
			return err
		}
		new.CA = string(pem)
	case base.Scheme == "https":
		if new.CA, err = c.trusted(ctx, base, o.fingerprint); err != nil {
			return err
		}
	}
	c.Pinned = new.CA
	if new.Token, err = c.token(); err != nil {
		return err
	}
	c.Token = app.Token{Default: new.Token}
	op, err := c.Operator()
	if err != nil {
		return err
	}
	if _, err := op.Servers(ctx); err != nil {
		return c.Reached(err)
	}
	all, err := logins.Load(c.Logins)
	if err != nil {
		return err
	}
	if err := all.With(new).Save(c.Logins); err != nil {
		return err
	}
	return c.told(new, true, "logged in to %s\n")
}

// maxToken bounds what is read as a token, in bytes.
const maxToken = 4 << 10

// token finds the admin token, or asks for it.
func (c command) token() (string, error) {
	if given, err := c.Token.Read(); given != "" || err != nil {
		return given, err
	}
	if f, ok := c.Stdin.(*os.File); ok && c.Interactive() {
		fmt.Fprint(c.Stderr, "admin token: ")
		p, err := xterm.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.Stderr)
		if err != nil {
			return "", fmt.Errorf("reading the admin token: %w", err)
		}
		return app.CheckToken("the answer", string(p))
	}
	line, err := bufio.NewReader(io.LimitReader(c.Stdin, maxToken)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	return app.CheckToken("standard input", line)
}

func notLoggedIn(name string) error {
	return exit.NotFound(exit.Hint(fmt.Errorf("not logged in to %.100q", name),
		"gild context ls lists the servers that you have logged in to"))
}

func (c command) logout(name string) error {
	all, err := logins.Load(c.Logins)
	if err != nil {
		return err
	}
	if name == "" {
		name = all.Current
	}
	gone, ok := all.Named(name)
	if !ok {
		return notLoggedIn(name)
	}
	if err := all.Without(name).Save(c.Logins); err != nil {
		return err
	}
	return c.told(gone, false, "%s is forgotten\n")
}

func (c command) use(name string) error {
	all, err := logins.Load(c.Logins)
	if err != nil {
		return err
	}
	s, ok := all.Named(name)
	if !ok {
		return notLoggedIn(name)
	}
	if err := all.With(s).Save(c.Logins); err != nil {
		return err
	}
	return c.told(s, true, "working with %s now\n")
}

// known is a login without its secrets.
type known struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Current bool   `json:"current"`
	Pinned  bool   `json:"pinned"` // verified with a certificate of its own
}

func (c command) told(s logins.Login, current bool, text string) error {
	if c.JSON {
		return c.PrintJSON(known{s.Name, s.URL, current, s.CA != ""})
	}
	fmt.Fprintf(c.Stdout, text, term.Printable(s.Name))
	return nil
}

func (c command) list(o term.ListOptions) error {
	all, err := logins.Load(c.Logins)
	if err != nil {
		return err
	}
	var list []known
	for _, s := range all.Servers {
		list = append(list, known{s.Name, s.URL, s.Name == all.Current, s.CA != ""})
	}
	return term.PrintList(&c.Console, term.List[known]{Items: list, Columns: []term.Column[known]{
		{Header: "NAME", Text: func(k *known) string { return term.Printable(k.Name) }},
		{Header: "SERVER", Text: func(k *known) string { return term.Printable(k.URL) }},
		{Header: "CURRENT", Text: func(k *known) string { return term.Yes(k.Current) }},
		{Header: "PINNED", Text: func(k *known) string { return term.Yes(k.Pinned) }},
	}}, o)
}
