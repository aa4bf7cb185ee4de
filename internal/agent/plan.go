package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/agent/backoff"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/version"
)

// Bounds of the wait that a server may ask for, and of the time that a person
// has to read why the machine restarts.
const (
	minRetry     = time.Second
	maxRetry     = 5 * time.Minute
	readingPause = 10 * time.Second
)

// askPlan says hello until the server has a plan.
func (a *Agent) askPlan(ctx context.Context) (string, error) {
	said := ""
	for {
		answer, date, err := a.session.Client.Hello(ctx, a.hello())
		if err != nil {
			return "", err
		}
		if clockIsWrong(time.Now(), date) && a.host.SetClock(date) == nil {
			a.report.Note("plan", "the clock was wrong and now follows the server's")
		}
		if a.report.Console.Plate.Called(answer.Name) {
			a.report.Show("name: " + a.report.Console.Plate.Argument())
		}
		if answer.Action == api.ActionFlash {
			return a.accept(answer)
		}
		a.session.Queue.Under("") // of a plan that was refused or is lost
		switch answer.Action {
		case api.ActionLocalDisk:
			return "", a.bootLocal(ctx, answer.Message)
		case api.ActionWait:
			if text := "the server says to wait: " + answer.Message; text != said {
				said = text // once, not with every hello
				a.report.Note("plan", "%s", text)
			}
			retry := min(max(time.Duration(answer.Retry)*time.Second, minRetry), maxRetry)
			if err := backoff.Sleep(ctx, retry); err != nil {
				return "", err
			}
		default:
			return "", fmt.Errorf("the server asks for %.40q, which this agent does not know: is a stale initramfs cached somewhere?", answer.Action)
		}
	}
}

func (a *Agent) hello() api.Hello {
	return api.Hello{
		Version: api.Version, Session: a.session.ID, Build: version.String(), Inventory: a.host.Inventory(a.session.MAC), Ticket: a.settings.Ticket,
	}
}

// accept checks a plan before anything is done about it.
func (a *Agent) accept(answer api.Answer) (string, error) {
	p := answer.Plan
	if p == nil || p.ID == "" {
		return "", errors.New("the server asks for a flash and sends no plan")
	}
	if _, err := golden.ParseDigest(p.Image.Digest); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if err := golden.CheckRepository(p.Image.Repository); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if _, err := handoff.Ways(p.Handoff); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	if _, err := parseVerify(p.ReadBack); err != nil {
		return "", fmt.Errorf("plan %.80q: %w", p.ID, err)
	}
	// What follows is told of this plan, also that it is not for this machine.
	a.session.Queue.Under(p.ID)
	if err := a.isThisMachine(p); err != nil {
		return "", err
	}
	if a.plan == nil || a.plan.ID != p.ID || a.plan.Image != p.Image {
		a.image, a.source = nil, nil
	}
	a.plan = p
	a.session.Permit.Grant(p.ID)
	return fmt.Sprintf("image %.100s (%s)", p.Image.Name, golden.Digest(p.Image.Digest).Short()), nil
}

func parseVerify(s string) (flash.Verify, error) {
	if s == "" {
		return flash.VerifyFull, nil
	}
	return flash.ParseVerify(s)
}

// bootLocal restarts the machine for its own disk, with time to read why.
func (a *Agent) bootLocal(ctx context.Context, message string) error {
	if message == "" {
		message = "nothing to do for this machine"
	}
	a.report.Note("plan", "%s: restarting for the local disk in %.0f s", message, readingPause.Seconds())
	a.session.Queue.Flush(ctx, readingPause)
	if err := backoff.Sleep(ctx, readingPause); err != nil {
		return err
	}
	return a.host.Restart()
}

// pullImage fetches everything small of the image and checks all of it
// against the plan's digest: nothing is written before this has succeeded.
func (a *Agent) pullImage(ctx context.Context) (string, error) {
	if a.image == nil {
		image, err := a.session.Client.Image(ctx, a.plan.Image.Repository, golden.Digest(a.plan.Image.Digest))
		if err != nil {
			return "", err
		}
		a.use(image)
	}
	if err := a.canClone(); err != nil {
		return "", err
	}
	t := a.image.Table
	return fmt.Sprintf("a disk of %.1f GB with %.1f GB of data, %.1f GB to fetch",
		float64(t.DiskSize)/1e9, float64(t.DataSize())/1e9, float64(t.BlobSize())/1e9), nil
}

// use makes an image the one that is flashed.
func (a *Agent) use(image *golden.Image) {
	a.image = image
	a.source = a.session.Client.Ranges(a.plan.Image.Repository, string(image.Disk.Digest), image.Disk.Size)
}
