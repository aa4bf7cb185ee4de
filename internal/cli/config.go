package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/strictyaml"
)

// configName is the file in the data directory with the settings of gild
// serve.
const configName = "gild.yaml"

// readConfig sets the flags that a file names and the command line does not.
// The keys of the file are the names of the flags. An empty path is the file
// in the data directory, which need not be there.
func readConfig(data, path string, flags *pflag.FlagSet) error {
	name := path
	if name == "" {
		name = filepath.Join(data, configName)
	}
	text, err := app.ReadSmall(name, strictyaml.MaxSize)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading settings: %w", err)
	}
	d := &strictyaml.Decoder{}
	docs := d.Documents(name, text)
	for _, doc := range docs {
		if len(docs) > 1 {
			d.Fail(doc, "settings are one document, this is one of %d", len(docs))
			continue
		}
		for _, e := range d.Entries(doc) {
			setFlag(d, e, flags)
		}
	}
	if err := d.Err(); err != nil {
		return exit.Input(err)
	}
	return nil
}

// setFlag checks a setting also where the command line has the last word.
func setFlag(d *strictyaml.Decoder, e strictyaml.Entry, flags *pflag.FlagSet) {
	var known []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" {
			known = append(known, f.Name)
		}
	})
	if !slices.Contains(known, e.Key) {
		d.Unknown(e, known)
		return
	}
	f := flags.Lookup(e.Key)
	given := f.Changed
	if list, ok := f.Value.(pflag.SliceValue); ok {
		var texts []string
		d.Into(e.Value, &texts)
		if !given && len(texts) > 0 {
			d.Check(e.Value, list.Replace(texts))
		}
		return
	}
	text, ok := d.Text(e.Value)
	if !ok {
		return
	}
	before := f.Value.String()
	d.Check(e.Value, f.Value.Set(text))
	if given {
		_ = f.Value.Set(before) // was there before
	}
}
