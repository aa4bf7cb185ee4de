// Package ipmi controls power by IPMI 2.0 over LAN (RMCP+).
//
// Each command has a session of its own, which is closed at its end: BMCs have
// few, and one that leaks locks everybody out. Of the cipher suites, 17 is
// tried, then 3; which one a BMC takes is remembered in [Suites].
package ipmi

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/printable"
)

// Driver speaks to one BMC.
type Driver struct {
	// Address is the BMC's, HOST or HOST:PORT; the port is 623 otherwise.
	Address string
	// User has at most 16 bytes, Password at most 20.
	User, Password string
	// Suites remembers which cipher suite a BMC takes; nil: nothing does.
	Suites *Suites
}

// Suites remembers the cipher suites of BMCs by their address. The zero value
// knows none. Safe for concurrent use.
type Suites struct{ known sync.Map }

// order is the cipher suites as they are tried: the one that worked first. What
// worked is no promise: the BMC may have been replaced.
func (s *Suites) order(address string) []types.CipherSuiteID {
	if s != nil {
		if id, ok := s.known.Load(address); ok && id == types.CipherSuiteID3 {
			return []types.CipherSuiteID{types.CipherSuiteID3, types.CipherSuiteID17}
		}
	}
	return []types.CipherSuiteID{types.CipherSuiteID17, types.CipherSuiteID3}
}

func (s *Suites) remember(address string, id types.CipherSuiteID) {
	if s != nil {
		s.known.Store(address, id)
	}
}

// Limits of one exchange and of the protocol's names.
const (
	defaultPort = 623
	answerIn    = time.Second // before a datagram is sent again
	again       = 4
	closeIn     = 2 * time.Second
	maxUser     = 16
	maxPassword = 20
	maxShown    = 300 // bytes of an error of the library
)

// session opens one, does something by it, and closes it.
func (d *Driver) session(ctx context.Context, op string, do func(context.Context, *client.Client) error) error {
	host, port, err := d.target()
	if err != nil {
		return power.Fail(power.Failed, op, err)
	}
	if host, err = resolve(ctx, host); err != nil {
		return power.Classify(op, err)
	}
	var last error
	for _, suite := range d.Suites.order(d.Address) {
		if err := ctx.Err(); err != nil {
			return power.Classify(op, err)
		}
		c, err := client.NewClient(host, port, d.User, d.Password)
		if err != nil {
			return power.Fail(power.Failed, op, clean(err))
		}
		c.WithTimeout(answerIn).WithRetry(again).WithCipherSuiteID(suite).WithMaxPrivilegeLevel(types.PrivilegeLevelOperator)
		if err = login(ctx, c); err == nil {
			d.Suites.remember(d.Address, suite)
			if _, err = c.SetSessionPrivilegeLevel(ctx, types.PrivilegeLevelOperator); err == nil {
				err = do(ctx, c)
			}
			leave(context.WithoutCancel(ctx), c, closeIn)
			return d.failure(op, err)
		}
		leave(context.WithoutCancel(ctx), c, 0)
		last = d.failure(op, err)
		if !otherSuite(err) {
			break
		}
	}
	return last
}

// target splits the address and checks what the protocol has no room for.
func (d *Driver) target() (host string, port int, err error) {
	host, port = d.Address, defaultPort
	if h, p, err := net.SplitHostPort(d.Address); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, errors.New("the port of the BMC's address is not a number from 1 to 65535")
		}
		host, port = h, int(n)
	}
	switch host = strings.Trim(host, "[]"); {
	case host == "":
		return "", 0, errors.New("no address of the BMC is given")
	case len(d.User) > maxUser:
		return "", 0, errors.New("IPMI user names have at most 16 bytes")
	case len(d.Password) > maxPassword:
		return "", 0, errors.New("IPMI passwords have at most 20 bytes")
	}
	return host, port, nil
}

// resolve finds the address of a host: the library would not end with ctx. It
// also joins host and port by a colon, so that IPv6 needs its brackets.
func resolve(ctx context.Context, host string) (string, error) {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	a := found[0].Unmap()
	if a.Is6() {
		return "[" + a.String() + "]", nil
	}
	return a.String(), nil
}

// login opens the session by the one cipher suite that the client is given.
// Connect of the library would hide which error it was.
func login(ctx context.Context, c *client.Client) error {
	if _, err := c.OpenSession(ctx); err != nil {
		// The simulator of OpenIPMI refuses a suite in two bytes, which are
		// the start of an answer that the library reads whole.
		if errors.Is(err, types.ErrUnpackedDataTooShort) {
			err = types.NewRmcpStatusError(types.RmcpStatusCodeNoCipherSuiteMatch)
		}
		return err
	}
	if _, err := c.RAKPMessage1(ctx); err != nil {
		return err
	}
	_, err := c.RAKPMessage3(ctx)
	return err
}

// leave closes the session; within 0: there is none, only a socket.
func leave(ctx context.Context, c *client.Client, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	// A BMC that does not answer any more ends the session by itself.
	_ = c.Close(ctx)
}

// otherSuite reports whether a BMC has refused the cipher suite and not the
// user.
func otherSuite(err error) bool {
	status, ok := errors.AsType[*types.RmcpStatusError](err)
	if !ok {
		return false
	}
	switch status.StatusCode() {
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeInvalidConfidentAlg,
		types.RmcpStatusCodeNoMatchingAuthPayload, types.RmcpStatusCodeNoMatchingIntegrityPayload,
		types.RmcpStatusCodeNoCipherSuiteMatch, types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeIllegalParameter:
		return true
	}
	return false
}

// failure finds the kind of an error of the library.
func (d *Driver) failure(op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, client.ErrRAKPAuthentication) {
		return power.Fail(power.Denied, op, errors.New("the password is wrong"))
	}
	if status, ok := errors.AsType[*types.RmcpStatusError](err); ok {
		return power.Fail(statusKind(status.StatusCode()), op, clean(err))
	}
	if answer, ok := errors.AsType[*types.ResponseError](err); ok {
		return power.Fail(answerKind(answer.CompletionCode()), op, clean(err))
	}
	if text := err.Error(); strings.Contains(text, "no datagram matched") || strings.Contains(text, "canceled from caller") ||
		strings.Contains(text, "channel closed") {
		return power.Fail(power.Unreachable, op, errors.New("the BMC does not answer by IPMI"))
	}
	return power.Classify(op, clean(err))
}

func statusKind(code types.RmcpStatusCode) power.Kind {
	switch code {
	case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel, types.RmcpStatusCodeInvalidRole,
		types.RmcpStatusCodeInvalidIntegrityCheckValue, types.RmcpStatusCodeUnauthorizedGUID, types.RmcpStatusCodeInvalidNameLength:
		return power.Denied
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole:
		return power.Busy
	}
	return power.Failed
}

func answerKind(code types.CompletionCode) power.Kind {
	switch code {
	case types.CodeInsufficientPrivilege:
		return power.Denied
	case types.CodeNodeBusy, types.CodeProcessTimeout, types.CodeOutOfSpace, types.CodeCannotProvideResponseBMCInitialize:
		return power.Busy
	case types.CodeInvalidCommand, types.CodeParameterNotSupported:
		return power.Unsupported
	case types.CodeNotSupported: // in the present state
		return power.WrongState
	}
	return power.Failed
}

// cleaned is an error of the library on one line that may be shown.
type cleaned struct {
	error
	text string
}

func (e cleaned) Error() string { return e.text }
func (e cleaned) Unwrap() error { return e.error }

func clean(err error) error {
	return cleaned{err, printable.Line(err.Error(), maxShown)}
}

// Status reads the chassis status.
func (d *Driver) Status(ctx context.Context) (power.State, error) {
	state := power.Unknown
	err := d.session(ctx, "reading the power state", func(ctx context.Context, c *client.Client) error {
		s, err := c.GetChassisStatus(ctx)
		if err != nil {
			return err
		}
		state = map[bool]power.State{true: power.On, false: power.Off}[s.PowerIsOn]
		return nil
	})
	return state, err
}

// control sends one chassis control command.
func (d *Driver) control(ctx context.Context, op string, what chassis.ChassisControl) error {
	return d.session(ctx, op, func(ctx context.Context, c *client.Client) error {
		_, err := c.ChassisControl(ctx, what)
		return err
	})
}

// On switches the machine on.
func (d *Driver) On(ctx context.Context) error {
	return d.control(ctx, "switching on", chassis.ChassisControlPowerUp)
}

// Off cuts the power; orderly: presses the ACPI button.
func (d *Driver) Off(ctx context.Context, orderly bool) error {
	if orderly {
		return d.control(ctx, "asking for a shutdown", chassis.ChassisControlSoftShutdown)
	}
	return d.control(ctx, "switching off", chassis.ChassisControlPowerDown)
}

// Cycle cuts the power and restores it.
func (d *Driver) Cycle(ctx context.Context) error {
	return d.control(ctx, "cycling the power", chassis.ChassisControlPowerCycle)
}

// Reset resets the machine.
func (d *Driver) Reset(ctx context.Context) error {
	return d.control(ctx, "resetting", chassis.ChassisControlHardReset)
}

// devices are the selectors of the boot flags.
var devices = map[power.Device]types.BootDeviceSelector{
	power.Disk: types.BootDeviceSelectorForceHardDrive, power.Network: types.BootDeviceSelectorForcePXE,
	power.CD: types.BootDeviceSelectorForceCDROM,
}

// BootOnce sets the boot flags for the next boot. IPMI has no HTTP boot. The
// flags are lost at a BMC that hears no power command for 60 seconds, unless it
// takes the parameter that forbids that: so the power command comes next.
func (d *Driver) BootOnce(ctx context.Context, from power.Boot) error {
	device, ok := devices[from.Device]
	if !ok {
		return power.Cannot("IPMI", power.VerbBootOnce)
	}
	return d.session(ctx, "setting the boot flags", func(ctx context.Context, c *client.Client) error {
		// The parameters around the flags are optional to a BMC.
		for _, p := range []types.BootOptionParameter{
			&types.BootOptionParam_BMCBootFlagValidBitClear{DontClearOnResetPEFOrPowerCyclePEF: true, DontClearOnCommandReceivedTimeout: true},
			&types.BootOptionParam_SetInProgress{Value: types.SetInProgress_SetInProgress},
			&types.BootOptionParam_BootInfoAcknowledge{ByBIOSPOST: true},
		} {
			_ = c.SetSystemBootOptionsParamFor(ctx, p)
		}
		err := c.SetBootDevice(ctx, device, types.BIOSBootType(!from.Legacy), false)
		_ = c.SetBootParamSetInProgress(ctx, types.SetInProgress_SetComplete)
		return err
	})
}

// Identify lights the lamp.
func (d *Driver) Identify(ctx context.Context, lasting time.Duration) error {
	return d.session(ctx, "lighting the lamp", func(ctx context.Context, c *client.Client) error {
		_, err := c.ChassisIdentify(ctx, uint8(min(max(lasting/time.Second, 0), 255)), false)
		return err
	})
}
