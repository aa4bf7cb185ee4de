package operators

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

//go:generate go run ../../../../scripts/apidocs ../../../..

// described are the comments of the wire's types and their fields.
//
//go:embed fields.json
var described []byte

const aboutAPI = `What operators ask of a gild server: machines, arms, images, events. The dashboard and the commands
use the same operations. Within 1.x fields are added, and none is removed, renamed or given another meaning.

Errors are problems (RFC 9457) whose detail says what to do. Over the socket in the data directory nobody needs a token.`

// tags are the parts of the document, by the first word of a path.
var tags = []*huma.Tag{
	{Name: "machines", Description: "What is known of machines, and flashing them."},
	{Name: "events", Description: "What happened, as a list and as a stream of server-sent events."},
	{Name: "images", Description: "The stored images, and how they come to be stored."},
	{Name: "fleet", Description: "Everything that the files of gild apply say."},
	{Name: "servers", Description: "The servers of a cluster, and their state."},
}

// tagOf is the part of the document that a path is in.
func tagOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/v1/"), "/")
	switch first {
	case "log":
		return "events"
	case "blobs":
		return "images"
	case "groups", "identities":
		return "fleet"
	case "state":
		return "servers"
	}
	return first
}

// document is the configuration of the API with what the document says of all
// of it.
func document(version string) huma.Config {
	c := huma.DefaultConfig("gild operator API", cmp.Or(version, "dev"))
	c.Info.Description = aboutAPI
	c.Info.License = &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"}
	c.Servers = []*huma.Server{{URL: "/", Description: "the server that gave this document"}}
	c.Tags = tags
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {
			Type: "http", Scheme: "bearer",
			Description: "The admin token that gild serve printed at its first start; gild token new makes another.",
		},
	}
	c.Security = []map[string][]string{{"token": {}}}
	return c
}

// failures are the answers that an operation may give beside its success.
func failures(method, path string) []int {
	codes := []int{401, 403, 422, 500, 503}
	if strings.Contains(path, "{") {
		codes = append(codes, 404)
	}
	if method != "GET" {
		codes = append(codes, 409)
	}
	slices.Sort(codes)
	return codes
}

// finish says in the schemas what the types of Go cannot.
func finish(doc *huma.OpenAPI) {
	said := map[string]string{}
	if err := json.Unmarshal(described, &said); err != nil {
		panic(err) // it is part of the program
	}
	schemas := doc.Components.Schemas.Map()
	for name, s := range schemas {
		s.Description = cmp.Or(s.Description, said[name])
		for field, p := range s.Properties {
			p.Description = cmp.Or(p.Description, said[name+"."+field])
		}
	}
	for at, words := range enumerations {
		name, field, _ := strings.Cut(at, ".")
		if s := schemas[name]; s != nil && s.Properties[field] != nil {
			s.Properties[field].Enum = values(words)
		}
	}
	for _, name := range []string{"Event", "Flash", "Trouble"} {
		if s := schemas[name]; s != nil {
			c := s.Properties["cause"]
			// An agent of another version may know more words.
			c.AnyOf = []*huma.Schema{{Type: huma.TypeString, Enum: values(api.Causes)}, {Type: huma.TypeString}}
			c.Type = ""
		}
	}
	for name, v := range examples {
		if s := schemas[name]; s != nil {
			s.Examples = []any{plain(v)}
		}
	}
}

// enumerations are the words that a field may have.
var enumerations = map[string][]string{
	"Machine.state": api.MachineStates,
	"Alarm.kind": {
		api.AlarmInterface, api.AlarmAddress, api.AlarmDHCP, api.AlarmMemory, api.AlarmInfiniBand, api.AlarmOtherDHCP, api.AlarmDiscover,
	},
	"Change.kind":      {api.ChangeMachine, api.ChangeEvent, api.ChangeRemoved, api.ChangeReset},
	"FleetChange.kind": {"machine", api.KindGroup, api.KindIdentity},
	"FleetChange.do":   {"add", "change", "remove", "keep"},
}

// examples are of what an operator sends.
var examples = map[string]any{
	"Spec": api.Spec{
		Name: "web-1", MACs: []string{"52:54:00:12:34:56"}, Labels: map[string]string{"rack": "b7", "role": "web"},
		Flash: settings.Settings{Image: "web"}, Values: map[string]string{"address": "10.0.7.11/24"},
	},
	"FlashRequest": api.FlashRequest{Settings: settings.Settings{Image: "web", Identity: "node"}, Expires: 3600},
	"Alias":        api.Alias{Name: "web-2026"},
	"Fleet": api.Fleet{
		Groups: []api.Group{{Name: "web", Selector: "role=web", Flash: settings.Settings{Image: "web"}}},
		Images: map[string]string{"web": "sha256:" + strings.Repeat("0123456789abcdef", 4)},
	},
}

// plain is a value as JSON has it, so that a document can hold it in either
// form.
func plain(v any) (out any) {
	p, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(p, &out)
	}
	if err != nil {
		panic(err) // it is part of the program
	}
	return out
}

func values(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}
