// Package clone makes the identity of one machine out of the templates of the
// fleet, so complete that the agent has nothing left to interpret.
//
// Templates see a fixed set of values (Facts) and a fixed set of functions.
// What a machine says of itself (serial, UUID) is foreign: it is there only
// when it is plain words. Values hold no control characters, so none can end a
// line of the file that it is put into; the functions yaml, json and shell
// quote what goes into such files.
package clone

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// Facts are what the templates of an identity can name: {{ .Name }},
// {{ .Values.role }}, {{ index .Labels "site/rack" }}.
type Facts struct {
	Name     string // of the machine, for people
	ID       string // of its record
	MAC      string
	UUID     string // SMBIOS, as the machine says
	Serial   string // SMBIOS, as the machine says
	Hostname string // for an identity that says none
	Image    string // name of the image
	Server   string // base URL of the server
	// BeaconURL is where the new system reports that it runs. It holds a
	// secret, so templates cannot name it.
	BeaconURL string
	Labels    map[string]string
	Values    map[string]string
}

// Render fills in the templates of an identity and checks the outcome. The
// digest is that of out. Errors name the field or file and what is wrong, and
// no content.
func Render(tpl api.Identity, f Facts) (out api.Identity, digest string, err error) {
	out, err = render(tpl, f)
	if err != nil {
		return api.Identity{}, "", err
	}
	if err := check(out, false); err != nil {
		return api.Identity{}, "", err
	}
	return out, out.Digest(), nil
}

func render(tpl api.Identity, f Facts) (api.Identity, error) {
	values, err := f.data()
	if err != nil {
		return api.Identity{}, err
	}
	r := &renderer{data: values, left: api.MaxIdentity}
	out := tpl
	out.Hostname = r.text("hostname", tpl.Hostname)
	if out.Hostname == "" {
		out.Hostname = f.Hostname
	}
	// From here on the templates see the name that the machine gets.
	r.data["Hostname"] = out.Hostname
	out.MachineID = orDefault(r.text("machineID", tpl.MachineID), "new")
	out.SSHHostKeys = orDefault(tpl.SSHHostKeys, "new")
	out.Network = nil
	for i, l := range tpl.Network {
		at := fmt.Sprintf("network[%d].", i)
		l.MAC = strings.ToLower(r.text(at+"mac", l.MAC))
		l.Name = r.text(at+"name", l.Name)
		l.Addresses = r.list(at+"addresses", l.Addresses)
		l.Gateway = r.text(at+"gateway", l.Gateway)
		out.Network = append(out.Network, l)
	}
	out.DNS = r.list("dns", tpl.DNS)
	out.Search = r.list("search", tpl.Search)
	out.AuthorizedKeys = nil
	for _, user := range slices.Sorted(maps.Keys(tpl.AuthorizedKeys)) {
		set(&out.AuthorizedKeys, user, r.list("authorizedKeys of "+user, tpl.AuthorizedKeys[user]))
	}
	out.Files = nil
	for i, file := range tpl.Files {
		file.Path = r.text(fmt.Sprintf("files[%d].path", i), file.Path)
		file.Content = r.text("file "+file.Path, file.Content)
		out.Files = append(out.Files, file)
	}
	out.Credentials = nil
	for _, name := range slices.Sorted(maps.Keys(tpl.Credentials)) {
		set(&out.Credentials, name, r.text("credential "+name, tpl.Credentials[name]))
	}
	if c := tpl.CloudInit; c != nil {
		out.CloudInit = &api.CloudInit{
			UserData:      r.text("cloudInit.userData", c.UserData),
			MetaData:      r.text("cloudInit.metaData", c.MetaData),
			NetworkConfig: r.text("cloudInit.networkConfig", c.NetworkConfig),
			VendorData:    r.text("cloudInit.vendorData", c.VendorData),
		}
	}
	if r.err == nil {
		r.err = setBeacon(&out, f.BeaconURL)
	}
	return out, r.err
}

// setBeacon arranges for the call to url. Vendor data is what a provider
// adds to the user's own data, and what the user's own data overrides.
func setBeacon(out *api.Identity, url string) error {
	out.BeaconURL = ""
	if out.Beacon == "off" || url == "" {
		return nil
	}
	if strings.Trim(url, urlBytes) != "" {
		return errors.New("the server's own base URL holds characters that no URL has; see gild serve --base-url")
	}
	if out.Beacon == "cloud-init" {
		// It trusts the CAs of its system alone (cc_phone_home).
		if rest, secure := strings.CutPrefix(url, "https://"); secure {
			url = "http://" + rest
		}
		seed := api.CloudInit{}
		if out.CloudInit != nil {
			seed = *out.CloudInit
		}
		seed.VendorData = "#cloud-config\nphone_home:\n  url: " + quote(url) + "\n  post: [instance_id]\n  tries: 10\n"
		out.CloudInit = &seed
		return nil
	}
	out.BeaconURL = url
	return nil
}

// urlBytes are those of a URL that mean nothing to a shell in double quotes,
// to a unit file or to YAML in quotes.
const urlBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/[]"

// data is what a template sees. What a value may not hold is left out or
// refused here, once, and not where it is used.
func (f Facts) data() (map[string]any, error) {
	data := map[string]any{
		"Name": f.Name, "ID": f.ID, "MAC": f.MAC, "UUID": f.UUID, "Serial": f.Serial, "Hostname": f.Hostname,
		"Image": f.Image, "Server": f.Server, "Labels": f.Labels, "Values": f.Values,
	}
	for _, name := range []string{"Name", "ID", "Hostname", "Image", "Server"} {
		if err := checkValue("."+name, data[name].(string)); err != nil {
			return nil, err
		}
	}
	for kind, m := range map[string]map[string]string{".Labels": f.Labels, ".Values": f.Values} {
		if m == nil {
			data[kind[1:]] = map[string]string{}
		}
		for key, value := range m {
			if err := checkValue(kind+"."+key, value); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range []string{"MAC", "UUID", "Serial"} {
		if _, err := plain(data[name].(string)); err != nil {
			data[name] = ""
		}
	}
	return data, nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func set[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// quote returns s as a JSON string, which is a YAML one too.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// below says whether p is dir or below it.
func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, path.Clean(dir)+"/") }
