package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gild-dev/gild/test/lab"
)

// enterEarly flashes the first machine once more, so that it runs its system
// while the disk is written.
func (d *demo) enterEarly(ctx context.Context) error {
	for _, m := range d.room {
		m.powerOff() // the host is for one machine again
	}
	say("the first machine again, with another empty disk: gild flash %s --image golden --handoff instant --yes", mac)
	if err := d.gild(ctx, "flash", mac, "--image", "golden", "--handoff", "instant", "--yes"); err != nil {
		return err
	}
	d.again = time.Now()
	if err := d.powerOnEmpty(ctx); err != nil {
		return err
	}
	if err := d.expectLogin(ctx); err != nil {
		return err
	}
	say("%s after %.0f s, not %.0f, and what gild machine ls says of its disk:", d.prompt, time.Since(d.again).Seconds(), d.alone.Seconds())
	return d.gild(ctx, "machine", "ls")
}

// complete waits until the running machine's disk is written and proved.
func (d *demo) complete(ctx context.Context) error {
	say("the disk is completed under the running system ...")
	ctx, cancel := context.WithTimeoutCause(ctx, bootWait, fmt.Errorf("the disk is not complete after %v", bootWait))
	defer cancel()
	m, err := d.server.WaitFor(ctx, mac, func(m lab.Machine) bool { return m.Armed == nil && !m.Live })
	if err != nil {
		return err
	}
	fmt.Printf("complete after %.0f s: %d MiB fetched, %d MiB written, read back: %s, handoff: %s\n",
		time.Since(d.again).Seconds(), m.Receipt.Wire>>20, m.Receipt.Written>>20, m.Receipt.ReadBack, m.Receipt.Handoff)
	fmt.Printf("the system waited for %d chunks meanwhile, %.1f s in all\n", m.Receipt.Demanded, m.Receipt.Waited)
	for _, reason := range m.Receipt.Reasons { // an image of the user's may not be ready for it
		fmt.Println("not entered otherwise:", reason)
	}
	return nil
}
