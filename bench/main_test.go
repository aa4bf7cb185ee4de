package main

import (
	"io"
	"testing"
)

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"-quick", "-work", "delta", "-tool", "gild,casync"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 1 || len(o.links) != 1 || o.links[0] != loopback || len(o.tools) != 2 || o.results != "bin/bench-quick.json" {
		t.Errorf("parseOptions(-quick) = %+v", o)
	}
	for _, args := range [][]string{
		{"-work", "everything"},
		{"-link", "loopback,10gbit"},
		{"-tool", ""},
		{"-tool", "rsync"},
		{"-rounds", "0"},
		{"-work", "boot,full"},
		{"more"},
	} {
		if _, err := parseOptions(args, io.Discard); (err == nil) != (args[0] == "-tool" && args[1] == "") {
			t.Errorf("parseOptions(%q) = %v", args, err)
		}
	}
}
