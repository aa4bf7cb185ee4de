package specs

import (
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

func TestPower(t *testing.T) {
	pin := "sha256:" + strings.Repeat("0a", 32)
	for name, tt := range map[string]struct {
		power api.Power
		good  bool
	}{
		"none":                  {api.Power{}, true},
		"ipmi":                  {api.Power{Driver: "ipmi", Address: "10.0.9.7", User: "op"}, true},
		"ipmi with a port":      {api.Power{Driver: "ipmi", Address: "bmc.example:6230"}, true},
		"ipmi, IPv6":            {api.Power{Driver: "ipmi", Address: "[fd00::7]:623"}, true},
		"redfish":               {api.Power{Driver: "redfish", Address: "https://bmc.example:8443", System: "1", Pin: pin}, true},
		"wol":                   {api.Power{Driver: "wol"}, true},
		"command":               {api.Power{Driver: "command", Command: []string{"outlet", "7"}, Address: "pdu 3"}, true},
		"a password":            {api.Power{Driver: "ipmi", Address: "h", Secret: "s3cret"}, false},
		"no driver":             {api.Power{Address: "h"}, false},
		"unknown driver":        {api.Power{Driver: "amt", Address: "h"}, false},
		"no address":            {api.Power{Driver: "ipmi"}, false},
		"a path":                {api.Power{Driver: "redfish", Address: "https://h/redfish"}, false},
		"a user in the URL":     {api.Power{Driver: "redfish", Address: "https://u:p@h"}, false},
		"another scheme":        {api.Power{Driver: "redfish", Address: "ftp://h"}, false},
		"two words":             {api.Power{Driver: "ipmi", Address: "h x"}, false},
		"a bad port":            {api.Power{Driver: "ipmi", Address: "h:70000"}, false},
		"a pin for ipmi":        {api.Power{Driver: "ipmi", Address: "h", Pin: pin}, false},
		"a bad pin":             {api.Power{Driver: "redfish", Address: "h", Pin: "sha256:xyz"}, false},
		"a command for wol":     {api.Power{Driver: "wol", Command: []string{"x"}}, false},
		"a program with a path": {api.Power{Driver: "command", Command: []string{"/bin/sh"}}, false},
		"no program":            {api.Power{Driver: "command"}, false},
		"control characters":    {api.Power{Driver: "command", Command: []string{"x", "a\x1b"}}, false},
		"an escape in the user": {api.Power{Driver: "ipmi", Address: "h", User: "a\x1b"}, false},
	} {
		s := api.Spec{MACs: []string{"52:54:00:00:00:01"}, Power: tt.power}
		if err := Check(&s); (err == nil) != tt.good || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: Check = %v; want it good: %v", name, err, tt.good)
		}
	}
}
