package past

import (
	"fmt"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

func TestFair(t *testing.T) {
	list := func(side string, at ...int) (out []stamped) {
		for _, n := range at {
			out = append(out, stamped{fmt.Sprintf("%04d", n), api.LogEntry{Machine: side}})
		}
		return out
	}
	for _, tt := range []struct {
		a, b  []int
		limit int
		want  string
	}{
		{[]int{9, 7}, []int{8, 6}, 10, "a9 b8 a7 b6"},
		{[]int{2, 1}, []int{9, 8, 7, 6, 5}, 4, "b9 b8 a2 a1"},
		{[]int{9, 8, 7, 6, 5}, []int{2, 1}, 4, "a9 a8 b2 b1"},
		{[]int{1}, []int{9, 8, 7, 6, 5}, 4, "b9 b8 b7 a1"},
		{nil, []int{9, 8, 7}, 2, "b9 b8"},
		{[]int{9, 8, 7}, nil, 2, "a9 a8"},
		{[]int{5, 3, 1}, []int{6, 4, 2}, 4, "b6 a5 b4 a3"},
		{[]int{1}, []int{2}, 1, "b2"},
		{nil, nil, 3, ""},
	} {
		got := ""
		for i, x := range fair(list("a", tt.a...), list("b", tt.b...), tt.limit) {
			if i > 0 {
				got += " "
			}
			got += x.Machine + x.at[3:]
		}
		if got != tt.want {
			t.Errorf("fair(%v, %v, %d) = %q; want %q", tt.a, tt.b, tt.limit, got, tt.want)
		}
	}
}
