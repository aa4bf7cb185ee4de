package api

// PathPower controls the power of machines: POST PowerRequest -> a PowerOutcome
// a line, each as soon as it is known.
const PathPower = "/api/v1/power"

// Drivers of Power.
const (
	PowerIPMI    = "ipmi"    // a BMC by IPMI 2.0 over LAN
	PowerRedfish = "redfish" // a BMC by Redfish
	PowerWOL     = "wol"     // Wake-on-LAN: switches on, and nothing else
	PowerCommand = "command" // a program of the operator's on the server
)

// Power is how the power of a machine is controlled; the zero value: it is not.
type Power struct {
	Driver  string `json:"driver,omitempty" enum:"ipmi,redfish,wol,command" doc:"how the power control is spoken to"`
	Address string `json:"address,omitempty" maxLength:"256" doc:"of the power control: HOST, HOST:PORT, for redfish also a URL; for wol the broadcast address of a network"`
	User    string `json:"user,omitempty" maxLength:"64"`
	// Secret is the password. It is sealed and kept apart, by driver, address
	// and user, and no answer has it. Empty: the one that is kept.
	Secret string `json:"secret,omitempty" maxLength:"1024" writeOnly:"true" doc:"password; it is sealed, and never given back"`
	System string `json:"system,omitempty" maxLength:"64" doc:"ID of the system, for a redfish BMC that has several"`
	// Pin is that of the only certificate that a redfish BMC may show; empty:
	// the one that it shows first.
	Pin     string   `json:"pin,omitempty" maxLength:"71" doc:"certificate of a redfish BMC: sha256: and its SHA-256; without, the first that is seen is pinned"`
	Command []string `json:"command,omitempty" maxItems:"32" doc:"of the driver command: name of a program in the server's directory power-commands, and its arguments"`
}

// Zero reports whether nothing is said.
func (p *Power) Zero() bool {
	return p.Driver == "" && p.Address == "" && p.User == "" && p.Secret == "" && p.System == "" && p.Pin == "" && len(p.Command) == 0
}

// Verbs of a PowerRequest.
const (
	PowerStatus   = "status"
	PowerOn       = "on"
	PowerOff      = "off"
	PowerCycle    = "cycle"
	PowerReset    = "reset"
	PowerBootOnce = "boot-once"
	PowerIdentify = "identify"
	// PowerNetboot has machines that are armed boot from the network now: by an
	// orderly shutdown, else a reset, else a power cycle.
	PowerNetboot = "netboot"
)

// PowerRequest is what is asked of the power controls of machines. Only those
// that it names are touched.
type PowerRequest struct {
	Verb     string   `json:"verb" enum:"status,on,off,cycle,reset,boot-once,identify,netboot"`
	Machines []string `json:"machines" minItems:"1" maxItems:"10000" doc:"name, MAC, SMBIOS UUID or serial of each"`
	Reason   string   `json:"reason,omitempty" maxLength:"200" doc:"why, for the events of the machines"`
	Orderly  bool     `json:"orderly,omitempty" doc:"of off: ask the operating system to shut down, and do not cut the power"`
	From     string   `json:"from,omitempty" maxLength:"512" doc:"of boot-once: disk, network, http, cd, or an http or https URL"`
	Seconds  int      `json:"seconds,omitempty" minimum:"0" maximum:"255" doc:"of identify: for how long the lamp is lit; 0 switches it off"`
	AtOnce   int      `json:"atOnce,omitempty" minimum:"0" maximum:"500" doc:"how many machines are worked on at once; 0 is 50"`
	Spread   int      `json:"spread,omitempty" minimum:"-1" maximum:"60000" doc:"milliseconds between two machines that get power; 0 is 200, -1 is none"`
	Within   int      `json:"within,omitempty" minimum:"0" maximum:"3600" doc:"seconds until all of it has ended; 0 is 600"`
	Force    bool     `json:"force,omitempty" doc:"also machines whose disk is being written, or whose power control another machine has too"`
}

// PowerOutcome is what became of one machine of a PowerRequest.
type PowerOutcome struct {
	ID    string `json:"id,omitempty"` // empty: there is no such machine
	Name  string `json:"name"`         // as a person calls it, or as it was asked for
	Done  bool   `json:"done"`
	State string `json:"state"` // "on", "off", "unknown"
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Kind is a stable word for the error: "not supported", "unreachable",
	// "denied", "not trusted", "busy", "wrong state", "not confirmed", "failed",
	// "refused" or "not tried".
	Kind string `json:"kind,omitempty"`
}
