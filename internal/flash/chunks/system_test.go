package chunks

import "testing"

// A write of the system that failed leaves the image's bytes to be brought.
func TestFailedWriteIsNobodys(t *testing.T) {
	m := New(newTable(t, "d"), nothingHeld)
	for _, ok := range []bool{false, true} {
		if err := m.System.BeginWrite(t.Context(), 0, sectors, false); err != nil {
			t.Fatal(err)
		}
		m.System.EndWrite(0, 0, 1, ok)
		if got := m.System.Readable(0, 0, 1, false) == Medium; got != ok {
			t.Errorf("after a write that went well (%v) the medium is right: %v", ok, got)
		}
	}
}
