package term

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Output is the form of what a command prints.
type Output string

// The forms. The empty one is text for a person. Wide and Name are of lists.
const (
	OutputWide Output = "wide"
	OutputName Output = "name"
	OutputJSON Output = "json"
	OutputYAML Output = "yaml"
)

// Outputs are the forms that can be asked for.
var Outputs = []string{string(OutputWide), string(OutputName), string(OutputJSON), string(OutputYAML)}

// OfLists reports whether only lists have this form.
func (o Output) OfLists() bool { return o == OutputWide || o == OutputName }

// output is the flag -o of a console.
type output struct{ c *Console }

// OutputFlag is the flag that chooses the form.
func (c *Console) OutputFlag() interface {
	String() string
	Set(text string) error
	Type() string
} {
	return output{c}
}

func (o output) String() string {
	if o.c == nil {
		return ""
	}
	return string(o.c.Output)
}

func (output) Type() string { return "form" }

func (o output) Set(text string) error {
	if !slices.Contains(Outputs, text) {
		return errors.New("want one of " + strings.Join(Outputs, ", "))
	}
	o.c.Output = Output(text)
	o.c.JSON = o.c.JSON || !o.c.Output.OfLists()
	return nil
}

// PrintJSON prints v for scripts: as JSON, or as the same in YAML.
func (c *Console) PrintJSON(v any) error {
	if c.Output == OutputYAML {
		return c.printYAML(v)
	}
	enc := json.NewEncoder(c.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printYAML writes what JSON would say: the same names, the same omissions.
func (c *Console) printYAML(v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// JSON is YAML: read as such, it keeps its order and its whole numbers.
	var doc yaml.Node
	if err := yaml.Unmarshal(p, &doc); err != nil {
		return err
	}
	plain(&doc)
	enc := yaml.NewEncoder(c.Stdout)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

// plain takes from a document the braces and quotes of JSON. Where quotes are
// needed the encoder puts them.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}
