package images

import (
	"testing"
	"testing/fstest"
)

func TestHostMirror(t *testing.T) {
	const debian12 = "ID=debian\nVERSION_CODENAME=bookworm\n"
	tests := []struct {
		name    string
		release string
		files   map[string]string
		want    string
	}{
		{
			name: "one-line", release: debian12,
			files: map[string]string{"sources.list": "# deb http://old.example/ bookworm main\n" +
				"deb [signed-by=/k.gpg] http://vendor.example/apt bookworm stable\n" +
				"deb http://security.example/ bookworm-security main\n" +
				"deb [ arch=amd64 ] http://archive.example/debian bookworm main contrib # ours\n"},
			want: "http://archive.example/debian",
		},
		{
			name: "deb822", release: debian12,
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb deb-src\n# a comment\nURIs: https://archive.example/debian\n" +
				"Suites: bookworm\n bookworm-updates\nComponents: main\n"},
			want: "https://archive.example/debian",
		},
		{
			name: "disabled", release: debian12,
			files: map[string]string{"sources.list.d/a.sources": "Types: deb\nURIs: http://a.example\nSuites: bookworm\nComponents: " +
				"main\nEnabled: no\n\n" +
				"Types: deb\nURIs: http://b.example\nSuites: bookworm\nComponents: main\n"},
			want: "http://b.example",
		},
		{
			name: "a newer Debian", release: "ID=debian\nVERSION_CODENAME=\"trixie\"\n",
			files: map[string]string{"sources.list": "deb http://archive.example/debian trixie main\n"},
			want:  "http://archive.example/debian",
		},
		{
			name: "what debootstrap cannot read", release: debian12,
			files: map[string]string{"sources.list": "deb cdrom:[Debian]/ bookworm main\ndeb mirror+file:/m bookworm main\n"},
		},
		{
			name: "another distribution", release: "ID=ubuntu\nVERSION_CODENAME=noble\n",
			files: map[string]string{"sources.list": "deb http://archive.example/ubuntu noble main\n"},
		},
		{name: "no sources", release: debian12},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{"etc/os-release": {Data: []byte(tt.release)}}
			for name, text := range tt.files {
				root["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := hostMirror(root); got != tt.want {
				t.Errorf("hostMirror() = %q; want %q", got, tt.want)
			}
		})
	}
}
