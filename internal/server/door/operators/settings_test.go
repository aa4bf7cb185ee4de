package operators

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/settings"
)

// The description of the API has every setting of a flash, for a request and
// for machines and groups, as the table of settings has it.
func TestSettingsAreDescribed(t *testing.T) {
	h := humago.New(http.NewServeMux(), huma.DefaultConfig("", ""))
	new(Door).machines(operations{h, slog.New(slog.DiscardHandler)})
	schemas := h.OpenAPI().Components.Schemas.Map()
	for _, name := range []string{"FlashRequest", "Settings"} {
		schema := schemas[name]
		if schema == nil {
			t.Fatalf("%s is not described", name)
		}
		for _, f := range settings.Fields {
			p := schema.Properties[f.Name]
			if p == nil {
				t.Errorf("%s.%s is not described", name, f.Name)
				continue
			}
			var allowed []string
			for _, v := range p.Enum {
				if v != "" {
					allowed = append(allowed, v.(string))
				}
			}
			if p.Description != f.Doc || !cmp.Equal(allowed, f.Allowed) {
				t.Errorf("%s.%s is described as %q, %q; want %q, %q", name, f.Name, p.Description, allowed, f.Doc, f.Allowed)
			}
		}
	}
}
