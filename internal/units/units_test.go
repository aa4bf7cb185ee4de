package units

import "testing"

func TestAmounts(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(694 << 20), "694 MiB"},
		{Bytes(2 << 30), "2.0 GiB"},
		{Bytes(32 << 30), "32.0 GiB"},
		{Disk(4294967296), "4.3 GB"},
		{Disk(512_110_190_592), "512 GB"},
		{Disk(999_999_999), "1.0 GB"},
		{Disk(0), "0 B"},
		{Disk(999), "999 B"},
		{Disk(1000), "1.0 kB"},
		{Disk(9_949), "9.9 kB"},
		{Disk(123_456), "123 kB"},
		{Disk(960e9), "960 GB"},
		{Disk(4 << 40), "4.4 TB"},
		{Disk(-5), "-5 B"},
		{Rate(9.5 * (1 << 20)), "9.5 MiB/s"},
		{Rate(-1), "0 B/s"},
		{Part(210<<20, 694<<20), "210 of 694 MiB"},
		{Part(1288490188, 3113851289), "1.2 of 2.9 GiB"},
		{Part(3, 700), "3 of 700 B"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q; want %q", tt.got, tt.want)
		}
	}
}
