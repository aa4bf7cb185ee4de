package redfishtest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// change takes a PATCH.
func (b *BMC) change(w http.ResponseWriter, r *http.Request, settings bool, body object) {
	match := r.Header.Get("If-Match")
	now := strings.TrimPrefix(b.etag(b.system(settings)), "W/")
	if match == "" && b.Habits.NeedsETag {
		refuse(w, http.StatusPreconditionRequired, "PreconditionHeaderMissing", "If-Match is missing.")
		return
	}
	if match != "" && match != now {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "The resource has changed.")
		return
	}
	boot, isBoot := body["Boot"].(object)
	_, lamp := body["LocationIndicatorActive"]
	_, led := body["IndicatorLED"]
	switch {
	case isBoot:
		b.override(w, settings, boot)
	case (lamp || led) && !b.Habits.NoLamp && led == b.Habits.IndicatorLED:
		b.lamp = body["LocationIndicatorActive"]
		b.did = append(b.did, "identify")
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusBadRequest, "PropertyUnknown", "There is no such property.")
	}
}

func (b *BMC) override(w http.ResponseWriter, settings bool, boot object) {
	h := b.Habits
	_, mode := boot["BootSourceOverrideMode"]
	uri, _ := boot["HttpBootUri"].(string)
	switch {
	case h.SettingsOnly && !settings, h.NotSettings && settings, uri != "" && h.NoHTTP:
		refuse(w, http.StatusBadRequest, "PropertyNotWritable", "The property cannot be written here.")
		return
	case h.FullBoot && !mode:
		refuse(w, http.StatusBadRequest, "PropertyMissing", "The mode is missing.")
		return
	case h.NoMode && mode:
		refuse(w, http.StatusBadRequest, "PropertyNotWritable", "The mode cannot be written.")
		return
	}
	maps.Copy(b.boot, boot)
	device := map[any]string{
		"Pxe": "network", "Hdd": "disk", "Cd": "cd", "UsbCd": "cd", "UefiHttp": "http",
		"None": "none",
	}[b.boot["BootSourceOverrideTarget"]]
	b.did = append(b.did, "boot "+device)
	if h.LyingBoot {
		refuse(w, http.StatusBadRequest, "GeneralError", "It did not work.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *BMC) reset(w http.ResponseWriter, body object) {
	kind, _ := body["ResetType"].(string)
	want := map[string]bool{"On": true, "ForceOn": true, "ForceRestart": true, "PowerCycle": true, "Nmi": b.on}[kind]
	switch {
	case !slices.Contains(b.Habits.Resets, kind):
		refuse(w, http.StatusBadRequest, "ActionParameterNotSupported", "There is no such reset type.")
		return
	case b.Habits.Busy > 0:
		b.Habits.Busy--
		refuse(w, http.StatusConflict, "ActionParameterValueConflict", "The server is not ready.")
		return
	case b.Habits.RefusesSame && want == b.on && (kind == "On" || kind == "ForceOff"):
		refuse(w, http.StatusConflict, "ResourceInUse", "It is so already.")
		return
	}
	b.on = want
	b.did = append(b.did, map[string]string{
		"On": "on", "ForceOn": "on", "ForceOff": "off", "GracefulShutdown": "shutdown", "ForceRestart": "reset", "PowerCycle": "cycle",
	}[kind])
	if b.Habits.Task {
		b.tasks = 2
		w.Header().Set("Location", monitor)
		w.Header().Set("Retry-After", "1")
		say(w, http.StatusAccepted, object{"TaskState": "New"})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
