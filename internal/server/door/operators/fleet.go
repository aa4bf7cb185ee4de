package operators

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gild-dev/gild/internal/api"
)

// fleetTimeout bounds how long the body of an apply may take.
const fleetTimeout = time.Minute

type namedInput struct {
	Name  string `path:"name" doc:"its name" maxLength:"63"`
	Force bool   `query:"force" doc:"also while something names it"`
}

type fleetInput struct {
	DryRun bool `query:"dryRun" doc:"only tell what would change"`
	Body   api.Fleet
}

// fleet registers what is done to all that files say.
func (d *Door) fleet(r operations) {
	handle(r, http.MethodGet, api.PathFleet, "get-fleet", "What was applied, without secrets",
		func(ctx context.Context, _ *struct{}) (api.Applied, error) {
			return d.Control.Applied(ctx)
		})
	for _, of := range []struct{ path, id, summary, kind string }{
		{api.PathFleetGroup, "remove-group", "Remove a group", api.KindGroup},
		{api.PathFleetIdentity, "remove-identity", "Remove an identity", api.KindIdentity},
	} {
		handle(r, http.MethodDelete, of.path, of.id, of.summary, func(ctx context.Context, in *namedInput) (api.Removed, error) {
			return d.Control.RemoveNamed(ctx, actor(ctx), of.kind, in.Name, in.Force)
		})
	}
	op := operation(http.MethodPut, api.PathFleet, "apply-fleet", "Make the fleet what files say, or tell what that would change")
	op.MaxBodyBytes, op.BodyReadTimeout = api.MaxFleet, fleetTimeout
	huma.Register(r.api, op, func(ctx context.Context, in *fleetInput) (*body[api.FleetDiff], error) {
		diff, err := d.Control.Apply(ctx, actor(ctx), in.Body, in.DryRun)
		if err != nil {
			return nil, r.problem(ctx, err)
		}
		return &body[api.FleetDiff]{diff}, nil
	})
}
