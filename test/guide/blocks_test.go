package guide

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSteps(t *testing.T) {
	got := steps("text\n```console\n$ not this\n```\n```console run\nlost\n$ a b\nx\n...\n$ c\n```\n$ nor this\n")
	want := []step{{command: "a b", want: []string{"x", "..."}}, {command: "c"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestLike(t *testing.T) {
	for _, tt := range []struct {
		want, got []string
		like      bool
	}{
		{nil, nil, true},
		{[]string{"a"}, nil, false},
		{nil, []string{"a"}, false},
		{[]string{"a  b"}, []string{"a b"}, true},
		{[]string{"a", "...", "z"}, []string{"a", "b", "c", "z"}, true},
		{[]string{"a", "...", "z"}, []string{"a", "z"}, true},
		{[]string{"a", "...", "z"}, []string{"a", "b"}, false},
		{[]string{"web is 89a002ca21b5: 2.0 GiB"}, []string{"web is 0123456789ab: 512.5 MiB"}, true},
		{[]string{"web is 89a002ca21b5: 2.0 GiB"}, []string{"web was 0123456789ab: 512.5 MiB"}, false},
		{[]string{"seen 21s ago, at 10.0.7.1"}, []string{"seen 1.5s ago, at 10.0.7.1"}, true},
		{[]string{"seen 21s ago, at 10.0.7.1"}, []string{"seen 1.5s ago, at 10.0.7.2"}, false},
		{[]string{"2 problems"}, []string{"3 problems"}, false},
		{[]string{"token: gild-zdSygK-..."}, []string{"token: gild-abcdefghijk"}, true},
		{[]string{"since 2026-11-23 06:51:10"}, []string{"since 2027-01-01 00:00:00 UTC"}, true},
		{[]string{"phases ..."}, []string{"phases a, b"}, true},
	} {
		if got := like(tt.want, tt.got); got != tt.like {
			t.Errorf("like(%q, %q) = %v; want %v", tt.want, tt.got, got, tt.like)
		}
	}
}
