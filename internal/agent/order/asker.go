package order

import (
	"context"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/version"
)

// Bounds of the wait that a server may ask for, and of the time that a person
// has to read why the machine restarts.
const (
	minRetry     = time.Second
	maxRetry     = 5 * time.Minute
	readingPause = 10 * time.Second
)

// Asker asks the server what the machine is to do.
type Asker struct {
	Job    *Job
	Ticket string // from the boot script; empty for none
}

// Ask says hello until the server has a plan, which becomes the job's.
func (a *Asker) Ask(ctx context.Context) (string, error) {
	said := ""
	for {
		answer, date, err := a.Job.Session.Client.Hello(ctx, a.hello())
		if err != nil {
			return "", err
		}
		if clockIsWrong(time.Now(), date) && a.Job.Target.Host.SetClock(date) == nil {
			a.Job.Report.Note("plan", "the clock was wrong and now follows the server's")
		}
		if a.Job.Report.Console.Plate.Called(answer.Name) {
			a.Job.Report.Show("name: " + a.Job.Report.Console.Plate.Argument())
		}
		if answer.Action == api.ActionFlash {
			return a.Job.accept(answer)
		}
		a.Job.Session.Queue.Under("") // of a plan that was refused or is lost
		switch answer.Action {
		case api.ActionLocalDisk:
			return "", a.bootLocal(ctx, answer.Message)
		case api.ActionWait:
			if text := "the server says to wait: " + answer.Message; text != said {
				said = text // once, not with every hello
				a.Job.Report.Note("plan", "%s", text)
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

func (a *Asker) hello() api.Hello {
	return api.Hello{
		Version: api.Version, Session: a.Job.Session.ID, Build: version.String(), Ticket: a.Ticket,
		Inventory: a.Job.Target.Host.Inventory(a.Job.Session.MAC),
	}
}

// bootLocal restarts the machine for its own disk, with time to read why.
func (a *Asker) bootLocal(ctx context.Context, message string) error {
	if message == "" {
		message = "nothing to do for this machine"
	}
	a.Job.Report.Note("plan", "%s: restarting for the local disk in %.0f s", message, readingPause.Seconds())
	a.Job.Session.Queue.Flush(ctx, readingPause)
	if err := backoff.Sleep(ctx, readingPause); err != nil {
		return err
	}
	return a.Job.Target.Host.Restart()
}
