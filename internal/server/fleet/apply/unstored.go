package apply

import (
	"errors"
	"fmt"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Unstored warns of images that files name and that are not stored: they may
// come later. look is asked for one; a *fleet.UnknownError says that it is not
// there.
func Unstored(want api.Fleet, look func(image string) error) (out []api.FleetWarning, err error) {
	check := func(at, image string) {
		if image == "" || err != nil {
			return
		}
		err = look(image)
		if unknown, ok := errors.AsType[*fleet.UnknownError](err); ok {
			out, err = append(out, api.FleetWarning{Path: at + ".flash.image", Message: unknown.Error() + ", so nothing is flashed with it yet"}),
				nil
		}
	}
	for i, m := range want.Machines {
		check(fmt.Sprintf("machines[%d]", i), m.Flash.Image)
	}
	for i, g := range want.Groups {
		check(fmt.Sprintf("groups[%d]", i), g.Flash.Image)
	}
	return out, err
}
