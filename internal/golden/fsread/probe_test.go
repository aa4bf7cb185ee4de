package fsread_test

import (
	"strings"
	"testing"
)

// checkBlkid holds what was read against util-linux.
func checkBlkid(t *testing.T, image, kind, uuid, label string) {
	t.Helper()
	got := map[string]string{"TYPE": kind, "UUID": uuid, "LABEL": label}
	for _, line := range strings.Split(run(t, "blkid", "-p", "-o", "export", image), "\n") {
		key, value, _ := strings.Cut(line, "=")
		value = strings.ReplaceAll(value, `\ `, " ")
		if have, ok := got[key]; ok && have != value {
			t.Errorf("%s = %q; blkid says %q", key, have, value)
		}
		delete(got, key)
	}
	for key, have := range got {
		if have != "" {
			t.Errorf("%s = %q; blkid says nothing", key, have)
		}
	}
}
