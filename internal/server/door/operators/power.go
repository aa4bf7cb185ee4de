package operators

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gild-dev/gild/internal/api"
)

// Power controls the power of machines. It checks a request, and gives what
// carries it out: once its ctx ends no further machine is touched.
type Power interface {
	Power(ctx context.Context, actor string, q api.PowerRequest) (carry func(ctx context.Context, tell func(api.PowerOutcome)), err error)
}

type powerInput struct{ Body api.PowerRequest }

// power registers the one request whose answer grows as it is carried out.
func (d *Door) power(r operations) {
	op := operation(http.MethodPost, api.PathPower, "control-power", "Read or switch the power of machines")
	op.Description = "The answer has a PowerOutcome a line, each as soon as it is known, and empty lines while nothing is. " +
		"A client that goes away ends the request: no further machine is touched."
	schema := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.PowerOutcome](), true, "PowerOutcome")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "What became of each machine.",
		Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: schema}},
	}}
	huma.Register(r.api, op, func(ctx context.Context, in *powerInput) (*huma.StreamResponse, error) {
		carry, err := d.Power.Power(ctx, actor(ctx), in.Body)
		if err != nil {
			return nil, r.problem(ctx, err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			req, w := humago.Unwrap(hc)
			w.Header().Set("Content-Type", "application/x-ndjson")
			writeOutcomes(req.Context(), w, carry)
		}}, nil
	})
}

// writeOutcomes writes outcomes as they come. When nobody reads them no further
// machine is touched.
func writeOutcomes(ctx context.Context, w http.ResponseWriter, carry func(ctx context.Context, tell func(api.PowerOutcome))) {
	w.Header().Set("Cache-Control", "no-store")
	out := &eventWriter{w: w, ctl: http.NewResponseController(w)}
	ctx, stop := beat(ctx, heartbeat, func() error { return out.write("\n") })
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	carry(ctx, func(o api.PowerOutcome) {
		if out.line(o) != nil {
			cancel()
		}
	})
}
