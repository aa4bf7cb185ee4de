// Package redfishtest emulates a BMC that speaks Redfish, with one machine, by
// the habits of whatever vendor a test asks for.
package redfishtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gild-dev/gild/internal/power"
)

// User is the name of the BMC's only user.
const User = "operator"

// Habits are what BMCs do differently. The zero value is a plain one.
type Habits struct {
	Vendor        string   // of the root; empty: it names nobody
	Manufacturer  string   // of the system
	Resets        []string // reset types; nil: those that most have, PowerCycle with them
	ActionInfo    bool     // reset types are listed in a resource of their own only
	NeedsETag     bool     // a PATCH without If-Match is refused
	StrongOnly    bool     // ETags are told in weak form, and compared in strong form
	FullBoot      bool     // a boot override without a mode is refused
	NoMode        bool     // one with a mode is refused
	LyingBoot     bool     // it is refused and taken all the same
	SettingsOnly  bool     // the boot override is taken by a settings resource only
	NotSettings   bool     // there is a settings resource, and it refuses
	NoHTTP        bool     // HttpBootUri cannot be written
	Baseboard     bool     // a second system is listed first, which is no host
	NoSessions    bool     // there is only Basic authentication
	Busy          int      // so many resets are refused for the moment
	RefusesSame   bool     // a reset to the state that it is in is refused
	Task          bool     // a reset is a task
	Redirects     bool     // resources are at their paths with a slash
	IndicatorLED  bool     // the lamp has the older property
	NoLamp        bool     // there is no lamp
	MustChange    bool     // the password has to be changed first
	SessionsAtAll int      // how many sessions there may be at once; 0: 4
	Elsewhere     bool     // it calls itself by a name that nobody else knows
}

// BMC is an emulated one.
type BMC struct {
	Habits   Habits
	password string

	mu       sync.Mutex
	on       bool
	boot     map[string]any
	lamp     any
	did      []string
	sessions map[string]bool
	made     int // sessions in all
	tasks    int // looks at a task until it is done
}

// New makes a BMC whose machine is on.
func New(password string, h Habits) *BMC {
	if h.Resets == nil {
		h.Resets = []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "PowerCycle", "Nmi"}
	}
	return &BMC{
		Habits: h, password: password, on: true, sessions: map[string]bool{},
		boot: map[string]any{"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI"},
	}
}

// Start serves it by TLS until the test ends.
func (b *BMC) Start(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(b)
	t.Cleanup(s.Close)
	return s
}

// Set switches the machine.
func (b *BMC) Set(s power.State) { b.locked(func() { b.on = s == power.On }) }

// State is whether the machine is on.
func (b *BMC) State() (s power.State) {
	b.locked(func() { s = map[bool]power.State{true: power.On, false: power.Off}[b.on] })
	return s
}

// Did are the commands that the machine has seen.
func (b *BMC) Did() (did []string) {
	b.locked(func() { did = slices.Clone(b.did) })
	return did
}

// Boot is the boot override as it is set.
func (b *BMC) Boot() (boot map[string]any) {
	b.locked(func() { boot = maps.Clone(b.boot) })
	return boot
}

// Sessions are how many are open, and how many there were.
func (b *BMC) Sessions() (open, made int) {
	b.locked(func() { open, made = len(b.sessions), b.made })
	return open, made
}

// Tasks are how many looks at a task it still takes until that is done.
func (b *BMC) Tasks() (left int) {
	b.locked(func() { left = b.tasks })
	return left
}

func (b *BMC) locked(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// Places of the tree.
const (
	root         = "/redfish/v1"
	sessions     = root + "/SessionService/Sessions"
	systems      = root + "/Systems"
	systemPath   = systems + "/1"
	settingsPath = systemPath + "/Settings"
	actionInfo   = systemPath + "/ResetActionInfo"
	resetPath    = systemPath + "/Actions/ComputerSystem.Reset"
	baseboard    = systems + "/Baseboard"
	monitor      = root + "/TaskService/TaskMonitors/1"
	// UUID and Serial are the system's.
	UUID   = "4c4c4544-0051-3510-8052-b4c04f4a4c32"
	Serial = "SN-1"
)

type object = map[string]any

func ref(path string) object { return object{"@odata.id": path} }

// refuse answers as Redfish does.
func refuse(w http.ResponseWriter, status int, id, text string) {
	say(w, status, object{"error": object{"code": "Base.1.8.GeneralError", "message": text, "@Message.ExtendedInfo": []object{
		{"MessageId": "Base.1.8." + id, "Message": text},
	}}})
}

func say(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("OData-Version", "4.0")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v)
	}
}

// ServeHTTP answers one request; a BMC takes one at a time.
func (b *BMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	path := strings.TrimSuffix(r.URL.Path, "/")
	if b.Habits.Redirects && path != root && path == r.URL.Path && !strings.Contains(path, "Session") {
		w.Header().Set("Location", path+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	if path == root && r.Method == http.MethodGet {
		say(w, http.StatusOK, b.root())
		return
	}
	var body object
	_ = json.NewDecoder(r.Body).Decode(&body)
	if path == sessions && r.Method == http.MethodPost {
		b.login(w, body)
		return
	}
	if !b.knows(r) {
		refuse(w, http.StatusUnauthorized, "NoValidSession", "There is no valid session.")
		return
	}
	b.resource(w, r, path, body)
}

func (b *BMC) root() object {
	o := object{
		"@odata.id": root, "@odata.type": "#ServiceRoot.v1_9_0.ServiceRoot", "Id": "RootService", "Name": "Root Service",
		"RedfishVersion": "1.11.0", "UUID": UUID, "Systems": ref(systems), "Managers": ref(root + "/Managers"), "Chassis": ref(root + "/Chassis"),
	}
	if b.Habits.Vendor != "" {
		o["Vendor"] = b.Habits.Vendor
	}
	if !b.Habits.NoSessions {
		o["SessionService"] = ref(root + "/SessionService")
		o["Links"] = object{"Sessions": ref(sessions)}
	}
	return o
}

func (b *BMC) login(w http.ResponseWriter, body object) {
	limit := b.Habits.SessionsAtAll
	if limit == 0 {
		limit = 4
	}
	switch {
	case body["UserName"] != User || body["Password"] != b.password:
		// Some send back what they were sent.
		refuse(w, http.StatusUnauthorized, "ResourceAtUriUnauthorized",
			fmt.Sprintf("Login of %v with %v\x1b[2J failed.", body["UserName"], body["Password"]))
	case len(b.sessions) >= limit:
		refuse(w, http.StatusServiceUnavailable, "SessionLimitExceeded", "There are too many sessions.")
	default:
		b.made++
		id := fmt.Sprint("s", b.made)
		b.sessions[id] = true
		w.Header().Set("X-Auth-Token", "token-"+id)
		place := sessions + "/" + id
		if b.Habits.Elsewhere {
			place = "https://bmc.internal" + place
		}
		w.Header().Set("Location", place)
		say(w, http.StatusCreated, object{
			"@odata.id": sessions + "/" + id, "@odata.type": "#Session.v1_3_0.Session", "Id": id,
			"Name": "Session", "UserName": User,
		})
	}
}

func (b *BMC) knows(r *http.Request) bool {
	if user, password, basic := r.BasicAuth(); basic {
		return user == User && password == b.password
	}
	return b.sessions[strings.TrimPrefix(r.Header.Get("X-Auth-Token"), "token-")]
}

func (b *BMC) resource(w http.ResponseWriter, r *http.Request, path string, body object) {
	if b.Habits.MustChange {
		refuse(w, http.StatusForbidden, "PasswordChangeRequired", "The password must be changed.")
		return
	}
	switch at := r.Method + " " + path; at {
	case "GET " + root + "/SessionService":
		say(w, http.StatusOK, object{
			"@odata.id": path, "@odata.type": "#SessionService.v1_1_8.SessionService", "Id": "SessionService",
			"Name": "Session Service", "Sessions": ref(sessions),
		})
	case "GET " + systems:
		members := []object{ref(systemPath)}
		if b.Habits.Baseboard {
			members = []object{ref(baseboard), ref(systemPath)}
		}
		say(w, http.StatusOK, object{
			"@odata.id": path, "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection", "Name": "Systems",
			"Members": members, "Members@odata.count": len(members),
		})
	case "GET " + baseboard:
		say(w, http.StatusOK, object{
			"@odata.id": path, "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem", "Id": "Baseboard",
			"Name": "Baseboard", "PowerState": "On",
		})
	case "GET " + systemPath, "GET " + settingsPath:
		o := b.system(path == settingsPath)
		w.Header().Set("ETag", b.etag(o))
		say(w, http.StatusOK, o)
	case "GET " + actionInfo:
		say(w, http.StatusOK, object{
			"@odata.id":  path,
			"Parameters": []object{{"Name": "ResetType", "Required": true, "AllowableValues": b.Habits.Resets}},
		})
	case "PATCH " + systemPath, "PATCH " + settingsPath:
		b.change(w, r, path == settingsPath, body)
	case "POST " + resetPath:
		b.reset(w, body)
	case "GET " + monitor:
		if b.tasks--; b.tasks > 0 {
			w.Header().Set("Location", monitor)
			say(w, http.StatusAccepted, nil)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		if id, ok := strings.CutPrefix(path, sessions+"/"); ok && r.Method == http.MethodDelete && b.sessions[id] {
			delete(b.sessions, id)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		refuse(w, http.StatusNotFound, "ResourceMissingAtURI", "There is no such resource.")
	}
}

// system is the system, or what of it can be set for later.
func (b *BMC) system(settings bool) object {
	boot := maps.Clone(b.boot)
	boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = []string{"None", "Pxe", "Hdd", "Cd", "UsbCd", "UefiHttp", "BiosSetup"}
	if settings {
		return object{"@odata.id": settingsPath, "Id": "Settings", "Boot": boot}
	}
	reset := object{"target": resetPath}
	if b.Habits.ActionInfo {
		reset["@Redfish.ActionInfo"] = actionInfo
	} else {
		reset["ResetType@Redfish.AllowableValues"] = b.Habits.Resets
	}
	o := object{
		"@odata.id": systemPath, "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem", "Id": "1", "Name": "System", "UUID": UUID,
		"SerialNumber": Serial,
		"PowerState":   map[bool]string{true: "On", false: "Off"}[b.on], "Boot": boot, "Actions": object{"#ComputerSystem.Reset": reset},
		"Manufacturer": b.Habits.Manufacturer, "EthernetInterfaces": ref(systemPath + "/EthernetInterfaces"),
		"Status": object{"State": "Enabled", "Health": "OK"},
	}
	switch {
	case b.Habits.NoLamp:
	case b.Habits.IndicatorLED:
		o["IndicatorLED"] = "Off"
	default:
		o["LocationIndicatorActive"] = b.lamp == true
	}
	if b.Habits.SettingsOnly || b.Habits.NotSettings {
		o["@Redfish.Settings"] = object{"SettingsObject": ref(settingsPath)}
	}
	return o
}

func (b *BMC) etag(o object) string {
	text, _ := json.Marshal(o) // maps of texts and lists: never fails
	sum := sha256.Sum256(text)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	if b.Habits.StrongOnly {
		return "W/" + tag
	}
	return tag
}
