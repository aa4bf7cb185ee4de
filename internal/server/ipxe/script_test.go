package ipxe

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBootScript(t *testing.T) {
	got, err := Boot{
		Kernel: "http://10.0.0.1:8080/boot/vmlinuz",
		Initrds: []Initrd{
			{Name: "agent.img", URL: "http://10.0.0.1:8080/boot/agent.img"},
			{Name: "modules.img", URL: "http://10.0.0.1:8080/boot/modules.img"},
		},
		Cmdline: " root=UUID=6b1c  ro console=ttyS0,115200 ",
		Message: "debian-12\n&& shell ${net0/mac}",
		Again:   "http://10.0.0.1:8080/ipxe/52-54-00-00-00-01",
	}.Script()
	if err != nil {
		t.Fatal(err)
	}
	want := `#!ipxe
echo gild: debian-12??? shell ??net0/mac?
isset ${gild-wait} || set gild-wait 2
:retry
imgfree
kernel --name vmlinuz http://10.0.0.1:8080/boot/vmlinuz initrd=agent.img initrd=modules.img root=UUID=6b1c ro console=ttyS0,115200 || goto failed
initrd --name agent.img http://10.0.0.1:8080/boot/agent.img || goto failed
initrd --name modules.img http://10.0.0.1:8080/boot/modules.img || goto failed
boot || goto failed
:failed
echo gild: no answer from the server, trying again in ${gild-wait} s
sleep ${gild-wait}
iseq ${gild-wait} 16 && set gild-wait 30 ||
iseq ${gild-wait} 8 && set gild-wait 16 ||
iseq ${gild-wait} 4 && set gild-wait 8 ||
iseq ${gild-wait} 2 && set gild-wait 4 ||
chain --replace http://10.0.0.1:8080/ipxe/52-54-00-00-00-01 || goto failed
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("Boot.Script() (-want +got):\n%s", diff)
	}
}

func TestLocalDiskScript(t *testing.T) {
	for how, want := range map[Exit]string{
		ExitAuto:    "#!ipxe\niseq ${platform} efi && goto firmware ||\nsanboot --no-describe --drive 0x80 ||\n:firmware\nexit 1\n",
		ExitSanboot: "#!ipxe\nsanboot --no-describe --drive 0x80 ||\n:firmware\nexit 1\n",
		ExitReturn:  "#!ipxe\n:firmware\nexit 1\n",
	} {
		if got := string(LocalDisk{How: how}.Script()); got != want {
			t.Errorf("LocalDisk{%d}.Script() = %q; want %q", how, got, want)
		}
	}
}

func TestChainScript(t *testing.T) {
	got, err := Chain{URL: "http://10.0.0.1/ipxe"}.Script()
	if err != nil {
		t.Fatal(err)
	}
	want := "chain --replace http://10.0.0.1/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&" +
		"manufacturer=${manufacturer:uristring}&product=${product:uristring}&arch=${buildarch}&platform=${platform} || goto failed\n"
	if !strings.Contains(string(got), want) || !strings.HasSuffix(string(got), "goto retry\n") {
		t.Errorf("Chain.Script() = %s; want it to contain %s", got, want)
	}
}

// Values that must be refused, each by a ValueError that names its field.
func TestRefusedValues(t *testing.T) {
	good := func() Boot {
		return Boot{Kernel: "http://h/k", Initrds: []Initrd{{"a.img", "http://h/a"}}, Cmdline: "ro"}
	}
	for name, change := range map[string]func(*Boot){
		"command line": func(b *Boot) { b.Cmdline = strings.Repeat("a", 2048) },
		"kernel":       func(b *Boot) { b.Kernel = "--name" },
		"again":        func(b *Boot) { b.Again = "file:///etc/passwd" },
		"initrd":       func(b *Boot) { b.Initrds[0].URL = "http:///a" },
		"initrd name":  func(b *Boot) { b.Initrds = append(b.Initrds, b.Initrds[0]) },
	} {
		b := good()
		change(&b)
		_, err := b.Script()
		if e, ok := errors.AsType[*ValueError](err); !ok || e.Field != name {
			t.Errorf("Boot with bad %s: error %v; want a ValueError of that field", name, err)
		}
	}
	for _, bad := range hostile {
		b := good()
		b.Cmdline = "ro " + bad
		if _, err := b.Script(); err == nil {
			t.Errorf("Boot{Cmdline: %q}.Script() = nil error; want refusal", b.Cmdline)
		}
		b = good()
		b.Kernel += bad
		if _, err := b.Script(); err == nil {
			t.Errorf("Boot{Kernel: %q}.Script() = nil error; want refusal", b.Kernel)
		}
		if _, err := (Chain{URL: "http://h/" + bad}).Script(); err == nil {
			t.Errorf("Chain{%q}.Script() = nil error; want refusal", bad)
		}
	}
}

var hostile = []string{
	"a\nshell", "a\rshell", "a\x00b", "a\tb", "a&&b", "&& shell", "|| shell", "; shell", "${net0/mac}", "$", "{}", "#x",
	"é", "\u202e", `x\`, "\x1b[2J", "\xff", "`id`",
}

// FuzzScript holds the promise of the encoder: whatever the values are, the
// script has the lines that the same script has with harmless values, and only
// the settings and operators of this package.
func FuzzScript(f *testing.F) {
	for _, h := range hostile {
		f.Add("http://h/"+h, "ro "+h, h, h)
	}
	f.Add("http://h/k", "root=UUID=1 quiet", "hello", "a.img")
	shape := func(s []byte) (int, int, int, int) {
		return bytes.Count(s, []byte("\n")), bytes.Count(s, []byte("$")), bytes.Count(s, []byte("&")), bytes.Count(s, []byte("|"))
	}
	f.Fuzz(func(t *testing.T, url, args, message, name string) {
		scripts := func(url, args, message, name string) map[string][]byte {
			out := map[string][]byte{"local": LocalDisk{Message: message}.Script()}
			out["chain"], _ = Chain{URL: url, Message: message}.Script()
			out["boot"], _ = Boot{Kernel: url, Initrds: []Initrd{{name, url}}, Cmdline: args, Message: message, Again: url}.Script()
			return out
		}
		plainMessage := ""
		if message != "" {
			plainMessage = "m"
		}
		plain := scripts("http://h/k", "ro", plainMessage, "a.img")
		for kind, got := range scripts(url, args, message, name) {
			if got == nil {
				continue
			}
			if !bytes.HasPrefix(got, []byte("#!ipxe\n")) {
				t.Fatalf("%s script starts with %.20q", kind, got)
			}
			n, s, a, o := shape(got)
			wn, ws, wa, wo := shape(plain[kind])
			if n != wn || s != ws || a != wa || o != wo {
				t.Fatalf("%s script was changed by its values:\n%s", kind, got)
			}
			if bytes.Contains(got, []byte("\\\n")) || bytes.ContainsAny(got, "\x00\r\t;`\x1b") {
				t.Fatalf("%s script holds a forbidden byte:\n%q", kind, got)
			}
		}
	})
}
