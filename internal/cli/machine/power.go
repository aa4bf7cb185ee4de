package machine

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// powerNames are the flags of powerFlags.
var powerNames = []string{"power-driver", "power-address", "power-user", "power-secret", "power-system", "power-pin", "power-command"}

// powerFlags say how the power of a machine is controlled. The password is
// never an argument: every user of a host can read those.
type powerFlags struct {
	driver, address, user, secret, system, pin string
	command                                    []string
	stdin                                      func() io.Reader
	read                                       *string // the password, once it was read
}

func (p *powerFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	p.stdin = cmd.InOrStdin
	f.StringVar(&p.driver, "power-driver", "", "how its power is controlled, a `driver`: ipmi, redfish, wol or command")
	f.StringVar(&p.address, "power-address", "", "`address` of the BMC; of wol a broadcast address (default: every network of the server)")
	f.StringVar(&p.user, "power-user", "", "`name` to log in with at the BMC")
	f.StringVar(&p.secret, "power-secret", "", "`file` with the password, or - for standard input; it is sealed by the server and never shown")
	f.StringVar(&p.system, "power-system", "", "`ID` of the system, for a Redfish BMC that has several")
	f.StringVar(&p.pin, "power-pin", "", "the only certificate that a Redfish BMC may show, a `pin`: sha256:... (default: the first "+
		"that is seen)")
	f.StringArrayVar(&p.command, "power-command", nil,
		"`word` of a command: first the name of a program in the server's directory power-commands, then each argument")
	drivers := []string{api.PowerIPMI, api.PowerRedfish, api.PowerWOL, api.PowerCommand}
	_ = cmd.RegisterFlagCompletionFunc("power-driver", cobra.FixedCompletions(drivers, cobra.ShellCompDirectiveNoFileComp))
}

// over lays the flags over what is set already. Another driver begins anew.
func (p *powerFlags) over(to *api.Power, given func(flag string) bool) error {
	if given("power-driver") && p.driver != to.Driver {
		*to = api.Power{Driver: p.driver}
	}
	for flag, set := range map[string]struct {
		value string
		to    *string
	}{
		"power-address": {p.address, &to.Address}, "power-user": {p.user, &to.User}, "power-system": {p.system, &to.System},
		"power-pin": {p.pin, &to.Pin},
	} {
		if given(flag) {
			*set.to = set.value
		}
	}
	if given("power-command") {
		to.Command = withoutEmpty(p.command)
	}
	if !given("power-secret") {
		return nil
	}
	secret, err := p.password()
	to.Secret = secret
	return err
}

// maxPassword bounds a password in bytes.
const maxPassword = 1024

// password reads the password, once for all machines of a command.
func (p *powerFlags) password() (string, error) {
	if p.read != nil {
		return *p.read, nil
	}
	var text []byte
	var err error
	if p.secret == "-" {
		text, err = io.ReadAll(io.LimitReader(p.stdin(), maxPassword+1))
	} else {
		text, err = app.ReadSmall(p.secret, maxPassword)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || len(text) > maxPassword {
		return "", exit.Input(errors.New("--power-secret: the file is empty, or longer than a password"))
	}
	p.read = &secret
	return secret, nil
}

// powerText says how the power of a machine is controlled; empty: it is not.
func powerText(p *api.Power) string {
	if p.Zero() {
		return ""
	}
	text := p.Driver
	if len(p.Command) > 0 {
		text += " " + strings.Join(p.Command, " ")
	}
	for _, part := range []struct{ word, value string }{
		{" at ", p.Address},
		{" as ", p.User},
		{", system ", p.System},
		{", pinned to ", p.Pin},
	} {
		if part.value != "" {
			text += part.word + part.value
		}
	}
	return text
}
