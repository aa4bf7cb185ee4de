package power

import (
	"context"
	"errors"
	"time"
)

// Netboot has a machine boot from the network now, whatever state it is in. It
// escalates: an orderly shutdown, then a reset, then a power cycle, each within
// a time.
type Netboot struct {
	// Legacy says that the machine boots by BIOS.
	Legacy bool
	// Shutdown is how long an orderly shutdown may take, Boot how long it may
	// take from power to the first word on the network.
	Shutdown, Boot time.Duration
	// Came waits until the machine is seen booting from the network, or ctx is
	// done: then it returns an error.
	Came func(ctx context.Context) error
}

// errNotSeen says why a way did not lead to the network.
var errNotSeen = errors.New("it was not seen booting from the network")

// Do carries it out, and returns once the machine has come. A power control
// that cannot set what the next boot is from is left out: the machine's own
// order may begin with the network. Unconfirmed says that no way has led there.
func (n Netboot) Do(ctx context.Context, d Driver) error {
	c := control{d}
	s, err := c.status(ctx)
	if err != nil && !errors.Is(err, Unsupported) {
		return err
	}
	ways := []func(context.Context, control) error{n.orderly, n.reset, n.cycle}
	if s != On {
		ways = []func(context.Context, control) error{n.on, n.reset, n.cycle}
	}
	var failed []error
	for _, way := range ways {
		err := way(ctx, c)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, Denied), errors.Is(err, Untrusted), ctx.Err() != nil:
			return err
		}
		failed = append(failed, err)
	}
	return &Error{
		Kind: Unconfirmed, Op: "booting from the network", Err: errors.Join(failed...),
		Help: "look at its console: is the network among its boot devices, and in its own network?",
	}
}

// set sets the next boot. It is done before each time that the machine gets
// power: BMCs forget it.
func (n Netboot) set(ctx context.Context, c control) error {
	err := c.insist(ctx, func(ctx context.Context) error { return c.d.BootOnce(ctx, Boot{Device: Network, Legacy: n.Legacy}) })
	if errors.Is(err, Unsupported) {
		return nil
	}
	return err
}

// came waits for the machine, for as long as a boot may take.
func (n Netboot) came(ctx context.Context, op string) error {
	ctx, cancel := context.WithTimeout(ctx, n.Boot)
	defer cancel()
	if n.Came(ctx) != nil {
		return Fail(Unconfirmed, op, errNotSeen)
	}
	return nil
}

func (n Netboot) on(ctx context.Context, c control) error {
	if err := n.set(ctx, c); err != nil {
		return err
	}
	if _, err := c.bring(ctx, On, c.on); err != nil {
		return err
	}
	return n.came(ctx, "switching on")
}

// orderly lets the operating system shut down, and switches on.
func (n Netboot) orderly(ctx context.Context, c control) error {
	within, cancel := context.WithTimeout(ctx, n.Shutdown)
	defer cancel()
	if _, err := c.bring(within, Off, func(ctx context.Context) error { return c.d.Off(ctx, true) }); err != nil {
		return err
	}
	return n.on(ctx, c)
}

func (n Netboot) reset(ctx context.Context, c control) error {
	if err := n.set(ctx, c); err != nil {
		return err
	}
	if _, err := c.reset(ctx); err != nil {
		return err
	}
	return n.came(ctx, "resetting")
}

func (n Netboot) cycle(ctx context.Context, c control) error {
	if err := n.set(ctx, c); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	if _, err := c.cycle(within); err != nil {
		return err
	}
	return n.came(ctx, "cycling the power")
}
