package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/strictyaml"
)

// configName is the file with the settings of gild serve: in the data
// directory, or in systemConfig for the data directory of the system.
const (
	configName   = "gild.yaml"
	systemConfig = "/etc/gild/gild.yaml"
	systemData   = "/var/lib/gild"
)

// configFile is the file that the settings of a data directory are read from;
// empty: there is none. Two that could both be meant are an error.
func configFile(data, system string) (string, error) {
	var found []string
	names := []string{filepath.Join(data, configName)}
	if system != "" {
		names = append(names, system)
	}
	for _, name := range names {
		switch _, err := os.Stat(name); {
		case err == nil:
			found = append(found, name)
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("looking for settings: %w", err)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", exit.Input(exit.Hint(
		fmt.Errorf("there are settings in %s and in %s", found[0], found[1]), "keep one of the two, or give --config"))
}

// systemConfigOf is where else the settings of a data directory may be.
func systemConfigOf(data string) string {
	if filepath.Clean(data) == systemData {
		return systemConfig
	}
	return ""
}

// readConfig sets the flags that a file names and the command line does not.
// The keys of the file are the names of the flags. An empty path is the file
// of the data directory, which need not be there. It returns the file's name.
func readConfig(data, path string, flags *pflag.FlagSet) (name string, err error) {
	if name = path; name == "" {
		if name, err = configFile(data, systemConfigOf(data)); err != nil || name == "" {
			return "", err
		}
	}
	text, err := app.ReadSmall(name, strictyaml.MaxSize)
	if err != nil {
		return name, fmt.Errorf("reading settings: %w", err)
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
		return name, exit.Input(err)
	}
	return name, nil
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
