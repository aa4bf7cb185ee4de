package fleet

import (
	"cmp"
	"maps"

	"github.com/gild-dev/gild/internal/api"
)

// Resolve fills in what a request leaves open from the machine.
func Resolve(spec api.Spec, _ []api.Group, req api.FlashRequest) (api.FlashRequest, map[string]string, error) {
	d := spec.Flash
	req.Image, req.Disk, req.Identity = cmp.Or(req.Image, d.Image), cmp.Or(req.Disk, d.Disk), cmp.Or(req.Identity, d.Identity)
	req.ReadBack, req.Handoff, req.Confirm = cmp.Or(req.ReadBack, d.ReadBack), cmp.Or(req.Handoff, d.Handoff), cmp.Or(req.Confirm, d.Confirm)
	if len(req.Keep) == 0 {
		req.Keep = d.Keep
	}
	if req.Identity == "none" {
		req.Identity = ""
	}
	return req, maps.Clone(spec.Values), nil
}
