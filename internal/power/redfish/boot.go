package redfish

import (
	"context"
	"errors"
	"slices"

	"github.com/gild-dev/gild/internal/power"
)

// place is a resource that may take the boot override.
type place struct {
	path string
	boot object
}

// places are where the override may be set, the likeliest first: the settings
// resource if the system names one that has it, then the system itself.
func (s *system) places(ctx context.Context) ([]place, error) {
	own := place{s.path, s.data.at("Boot")}
	settings := s.data.at("@Redfish.Settings").at("SettingsObject").link()
	if settings == "" {
		return []place{own}, nil
	}
	data, err := s.c.get(ctx, settings)
	if status(err) == 404 {
		return []place{own}, nil
	}
	if err != nil {
		return nil, err
	}
	if !data.has("Boot") {
		return []place{own}, nil
	}
	return []place{{settings, data.at("Boot")}, own}, nil
}

const (
	targetKey  = "BootSourceOverrideTarget"
	enabledKey = "BootSourceOverrideEnabled"
	modeKey    = "BootSourceOverrideMode"
	uriKey     = "HttpBootUri"
)

// bootOnce sets the override wherever, and in whichever form, this BMC takes
// it.
func (s *system) bootOnce(ctx context.Context, from power.Boot) error {
	target := map[power.Device]string{power.Disk: "Hdd", power.Network: "Pxe", power.HTTP: "UefiHttp", power.CD: s.quirk.cd()}[from.Device]
	if target == "" {
		return power.Cannot("Redfish", power.VerbBootOnce)
	}
	places, err := s.places(ctx)
	if err != nil {
		return err
	}
	offered := offeredTargets(places)
	if len(offered) > 0 && !slices.Contains(offered, target) {
		return power.Cannot("this BMC", power.VerbBootOnce)
	}
	var first error
	for _, p := range places {
		for _, body := range s.bodies(p.boot, target, from) {
			err := s.c.patch(ctx, p.path, map[string]any{"Boot": body})
			if err == nil || s.took(ctx, p, err, target) {
				return nil
			}
			if _, refused := errors.AsType[*answerError](err); !refused {
				return err
			}
			if first == nil {
				first = err
			}
		}
	}
	if answer, ok := errors.AsType[*answerError](first); ok && from.URL != "" && answer.says("PropertyNotWritable", "PropertyUnknown") {
		return &power.Error{
			Kind: power.Unsupported, Op: "setting the URL of the next boot", Err: first,
			Help: "let DHCP name the boot file: gild power boot-once --from network",
		}
	}
	return first
}

// offeredTargets are the targets that any of the places lists; none: nothing is
// said of them.
func offeredTargets(places []place) (all []string) {
	for _, p := range places {
		all = append(all, p.boot.texts(targetKey+"@Redfish.AllowableValues")...)
	}
	return all
}

// bodies are the forms of the override, in the order of trying: some BMCs reset
// what is left out, others refuse a mode or start a job for it.
func (s *system) bodies(now object, target string, from power.Boot) []map[string]any {
	short := map[string]any{targetKey: target, enabledKey: "Once"}
	if from.URL != "" {
		short[uriKey] = from.URL
	} else if now.text(uriKey) != "" {
		short[uriKey] = nil // of an earlier target
	}
	mode := "UEFI"
	if from.Legacy {
		mode = "Legacy"
	}
	full := map[string]any{modeKey: mode}
	for k, v := range short {
		full[k] = v
	}
	switch {
	case s.quirk.fullBoot:
		return []map[string]any{full, short}
	case now.text(modeKey) == "" || now.text(modeKey) == mode || s.quirk.noMode:
		return []map[string]any{short, full}
	}
	return []map[string]any{full, short}
}

// took reports whether the override is set although the BMC has answered that
// it refuses it.
func (s *system) took(ctx context.Context, p place, err error, target string) bool {
	if status(err) != 400 {
		return false
	}
	data, err := s.c.get(ctx, p.path)
	if err != nil {
		return false
	}
	boot := data.at("Boot")
	return boot.text(targetKey) == target && boot.text(enabledKey) == "Once"
}
