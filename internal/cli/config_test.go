package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/serve"
)

// sample are some of the flags of gild serve.
type sample struct {
	iface, domain string
	lease         time.Duration
	port          int
	rescue        bool
	dns           []string
}

// settings reads a file of settings under flags given on the command line.
func settings(t *testing.T, text string, args ...string) (sample, error) {
	t.Helper()
	data := t.TempDir()
	cmd := serve.Command(&app.App{Data: data}, nil)
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	var o sample
	flags.StringVar(&o.iface, "interface", "", "")
	flags.StringVar(&o.domain, "domain", "", "")
	flags.DurationVar(&o.lease, "lease", 0, "")
	flags.IntVar(&o.port, "port", 8080, "")
	flags.StringSliceVar(&o.dns, "dns", nil, "")
	flags.BoolVar(&o.rescue, "rescue-shell", false, "")
	flags.VisitAll(func(f *pflag.Flag) {
		if cmd.Flags().Lookup(f.Name) == nil {
			t.Fatalf("gild serve has no --%s", f.Name)
		}
	})
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if err := os.WriteFile(filepath.Join(data, configName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := readConfig(data, "", flags)
	if err != nil {
		err = errorText(strings.ReplaceAll(err.Error(), data+"/", ""))
	}
	return o, err
}

type errorText string

func (e errorText) Error() string { return string(e) }

func TestConfig(t *testing.T) {
	if _, err := settings(t, ""); err != nil {
		t.Errorf("no file = %v; want none needed", err)
	}
	got, err := settings(t, "interface: no\ndomain: a.b\nlease: 2h\nport: 80\ndns: [10.0.0.1, 10.0.0.2]\nrescue-shell: true\n", "--domain",
		"mine", "--dns", "10.9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	if got.iface != "no" || got.domain != "mine" || got.lease.Hours() != 2 || got.port != 80 || !got.rescue ||
		cmp.Diff([]string{"10.9.9.9"}, got.dns) != "" {
		t.Errorf("settings = %+v; want those of the file under those of the command line", got)
	}
	for _, tt := range []struct{ text, want string }{
		{"interfaec: eth0", "gild.yaml:1:1: interfaec: unknown key; is interface meant?"},
		{"port: x", `gild.yaml:1:7: port: strconv.ParseInt: parsing "x": invalid syntax`},
		{"port: 1\nport: 2", "gild.yaml:2:1: port: stands there twice, first in line 1"},
		{"dns: {a: b}", "gild.yaml:1:6: dns: want a list, not keys and values"},
		{"domain: [x]", "gild.yaml:1:9: domain: want one value, not a list"},
		{
			"port: 1\n---\nport: 2",
			"gild.yaml:1:1: settings are one document, this is one of 2\ngild.yaml:3:1: settings are one document, this is one of 2",
		},
	} {
		if _, err := settings(t, tt.text, "--domain", "mine"); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// The settings of the system's data directory may be in /etc, and never in two
// places.
func TestConfigFile(t *testing.T) {
	dir := t.TempDir()
	data, system := filepath.Join(dir, "data"), filepath.Join(dir, "etc", configName)
	for _, d := range []string{data, filepath.Dir(system)} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := filepath.Join(data, configName)
	want := func(path string, wantErr bool) {
		t.Helper()
		got, err := configFile(data, system)
		if got != path || (err != nil) != wantErr {
			t.Errorf("configFile() = %q, %v; want %q, an error: %v", got, err, path, wantErr)
		}
	}
	want("", false)
	write := func(path string) {
		if err := os.WriteFile(path, []byte("interface: eth1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(system)
	want(system, false)
	write(own)
	want("", true)
	if err := os.Remove(system); err != nil {
		t.Fatal(err)
	}
	want(own, false)
	if got := systemConfigOf(data); got != "" {
		t.Errorf("another data directory has settings in %s", got)
	}
	if got := systemConfigOf("/var/lib/gild/"); got != systemConfig {
		t.Errorf("systemConfigOf() = %q, want %q", got, systemConfig)
	}
}
