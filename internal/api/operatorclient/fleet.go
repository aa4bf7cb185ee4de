package operatorclient

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Fleet is what the files of operators say.
type Fleet struct{ client *Client }

// Fleet is that of this server.
func (c *Client) Fleet() Fleet { return Fleet{c} }

// Applied returns what was applied, without secrets.
func (f Fleet) Applied(ctx context.Context) (api.Applied, error) {
	var out api.Applied
	err := f.client.call(ctx, http.MethodGet, api.PathFleet, nil, &out)
	return out, err
}

// Apply makes the fleet what want says, or only tells what that would change. A
// refusal names what is wrong in its Errors.
func (f Fleet) Apply(ctx context.Context, want api.Fleet, dryRun bool) (api.FleetDiff, error) {
	var out api.FleetDiff
	path := api.PathFleet
	if dryRun {
		path += "?dryRun=true"
	}
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	err := f.client.exchange(ctx, http.MethodPut, path, want, &out)
	return out, err
}

// RemoveGroup removes a group; force: also while machines are in it. A
// *ProblemError of 409 says what names it.
func (f Fleet) RemoveGroup(ctx context.Context, name string, force bool) (api.Removed, error) {
	return f.remove(ctx, api.PathFleetGroup, name, force)
}

// RemoveIdentity removes an identity in the same way.
func (f Fleet) RemoveIdentity(ctx context.Context, name string, force bool) (api.Removed, error) {
	return f.remove(ctx, api.PathFleetIdentity, name, force)
}

func (f Fleet) remove(ctx context.Context, path, name string, force bool) (out api.Removed, err error) {
	err = f.client.call(ctx, http.MethodDelete, forced(strings.Replace(path, "{name}", url.PathEscape(name), 1), force), nil, &out)
	return out, err
}

// applyTimeout bounds an apply: each of twenty thousand machines takes a write
// that is on disk.
const applyTimeout = 10 * time.Minute
