package order

import (
	"errors"
	"testing"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order/ordertest"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// Between the choice of the disk and the opening of it for a step that writes,
// its name may have become another's: what is open counts.
func TestWhatIsOpenIsHeldAgainstThePlan(t *testing.T) {
	for name, write := range map[string]func(j *Job) error{
		"flash": func(j *Job) error {
			_, err := j.Flash(t.Context())
			return err
		},
		"grow": func(j *Job) error {
			_, err := j.growPartition(t.Context())
			return err
		},
		"new IDs": func(j *Job) error {
			return j.writeWithNewIDs(t.Context(), api.Identity{NewIDs: true})
		},
	} {
		ordertest.OnAnotherDisk(t, name, func(host *machine.Played, plan *api.Plan, disk api.Disk, image *golden.Image) (string, error) {
			j := testJob(t)
			j.Target.Host, j.Target.Plan, j.Target.Disk, j.Target.Image = host, plan, disk, image
			err := write(j)
			if plan.Agreed.Unseen && host.Drive.Serial == ordertest.OtherDisk().Serial && !errors.Is(err, errUnfit) {
				t.Errorf("%s on another disk than a moment ago = %v; want that nothing was written", name, err)
			}
			return Cause("flash", err), err
		})
	}
}
