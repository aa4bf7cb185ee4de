// Package ipxe speaks one format, the iPXE script, with the rules for which
// iPXE program suits which firmware.
//
// Scripts are made from typed values by one encoder: [Boot], [LocalDisk] and
// [Chain]. A value that cannot be written safely is an error, so that nothing
// from the wire or from a golden image adds a command, a line or a ${setting}
// to a script.
//
// What is handled here because firmware and old iPXE are as they are:
//   - Debian's iPXE (2019 code) hands several initrds to a UEFI kernel only
//     when each is named by initrd= on the command line; on BIOS the words do
//     no harm.
//   - Returning to UEFI firmware with success makes EDK2 show its setup menu
//     (UEFI 2.10, section 3.1.1); returning an error makes it try the next boot
//     entry, which is the disk.
//   - Returning to a BIOS often ends in "no bootable device": there the disk is
//     booted by drive number.
package ipxe

import (
	"fmt"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootline"
)

// magic must be the first bytes of a script; iPXE knows it by nothing else.
const magic = "#!ipxe\n"

// Initrd is one archive of a boot. The kernel gets all of them, concatenated in
// order.
type Initrd struct {
	Name string // unique in one script: letters, digits, "-", "_", "."; as in initrd=Name
	URL  string
}

// Boot starts a kernel from the network, and tries for ever when the server
// does not answer.
type Boot struct {
	Kernel  string // URL
	Initrds []Initrd
	Cmdline string // without initrd=, which is added here
	Message string // shown on the console; any text
	// URL of the script that decides afresh after a failure; empty: this one is
	// repeated
	Again string
}

// Script encodes b, or fails with a [*ValueError].
func (b Boot) Script() ([]byte, error) {
	kernel, err := address("kernel", b.Kernel)
	if err != nil {
		return nil, err
	}
	args, err := cmdline(b.Cmdline)
	if err != nil {
		return nil, err
	}
	again := ""
	if b.Again != "" {
		if again, err = address("again", b.Again); err != nil {
			return nil, err
		}
	}
	fetches, names, err := b.initrds()
	if err != nil {
		return nil, err
	}
	args = strings.Join(append(names, args), " ")
	if len(args) > bootline.KernelMax {
		return nil, &ValueError{"command line", fmt.Sprintf("%d bytes with initrd=, the kernel takes %d", len(args), bootline.KernelMax)}
	}

	var s script
	s.say(b.Message)
	s.retry(func() {
		// A failed try leaves its images behind; without this a second initrd of the
		// same name joins them.
		s.add("imgfree")
		s.add("kernel --name vmlinuz " + kernel + " " + args + " || goto failed")
		for _, f := range fetches {
			s.add(f + " || goto failed")
		}
		s.add("boot || goto failed")
	}, again)
	return s.bytes(), nil
}

// initrds gives the commands that fetch the archives and the words that name
// them to the kernel.
func (b Boot) initrds() (fetches, names []string, err error) {
	seen := map[string]bool{"vmlinuz": true}
	for _, i := range b.Initrds {
		name, err := word("initrd name", i.Name, nameChars)
		if err != nil {
			return nil, nil, err
		}
		// On BIOS the kernel parses initrd=address,size: a name must not start like a
		// number or an option.
		if strings.IndexAny(name, alnum[:52]) != 0 || seen[name] {
			return nil, nil, &ValueError{"initrd name", fmt.Sprintf("%q must be unique and start with a letter", name)}
		}
		seen[name] = true
		from, err := address("initrd", i.URL)
		if err != nil {
			return nil, nil, err
		}
		fetches = append(fetches, "initrd --name "+name+" "+from)
		names = append(names, "initrd="+name)
	}
	return fetches, names, nil
}

// Exit is a way to leave iPXE for the local disk.
type Exit int

// The ways. No single one works on all firmware, so an operator can choose for
// odd machines.
const (
	ExitAuto    Exit = iota // by platform: ExitSanboot on BIOS, ExitReturn on UEFI
	ExitSanboot             // boot the first BIOS drive (0x80) from iPXE
	ExitReturn              // return to the firmware with an error, so that it tries its next entry
)

// LocalDisk boots the machine's own disk.
type LocalDisk struct {
	How     Exit
	Message string // shown on the console; any text
}

// Script encodes l; every value of l can be encoded.
func (l LocalDisk) Script() []byte {
	var s script
	s.say(l.Message)
	if l.How == ExitAuto {
		s.add("iseq ${platform} efi && goto firmware ||")
	}
	if l.How != ExitReturn {
		s.add("sanboot --no-describe --drive 0x80 ||")
	}
	s.add(":firmware")
	s.add("exit 1")
	return s.bytes()
}

// Chain asks the server for the script of this very machine, and tries for
// ever. It is the script that every machine can be given, because iPXE fills in
// who asks.
type Chain struct {
	URL     string // without query
	Message string // shown on the console; any text
}

// Script encodes c, or fails with a [*ValueError].
//
// The query names mac (hyphens), uuid, serial, manufacturer, product, arch
// (iPXE's buildarch) and platform (pcbios or efi). They are what the machine
// says of itself: labels, not proof. netX is the interface opened last, the one
// that got the lease; net0 may be another on UEFI with several NICs.
func (c Chain) Script() ([]byte, error) {
	base, err := address("chain", c.URL)
	if err != nil {
		return nil, err
	}
	if strings.Contains(base, "?") {
		return nil, &ValueError{"chain", "the URL must have no query"}
	}
	// uristring escapes blanks and & in what the firmware's vendor wrote into
	// SMBIOS.
	query := strings.Join([]string{
		"mac=${netX/mac:hexhyp}",
		"uuid=${uuid}",
		"serial=${serial:uristring}",
		"manufacturer=${manufacturer:uristring}",
		"product=${product:uristring}",
		"arch=${buildarch}",
		"platform=${platform}",
	}, "&")
	var s script
	s.say(c.Message)
	s.retry(func() {
		s.add("chain --replace " + base + "?" + query + " || goto failed")
	}, "")
	return s.bytes(), nil
}

// script collects lines that are constants of this package and values passed by
// encode.go.
type script struct {
	b strings.Builder
}

func (s *script) add(line string) {
	s.b.WriteString(line)
	s.b.WriteByte('\n')
}

func (s *script) say(message string) {
	if message != "" {
		// The prefix keeps a message that starts with "-" from being an option of echo.
		s.add("echo gild: " + text(message))
	}
}

// retry wraps a try, whose commands jump to "failed", in a loop with a wait of
// 2, 4, 8, 16 and then always 30 seconds. iPXE cannot compare numbers, so the
// steps are spelled out, largest first so that one pass takes one step. A
// setting of the machine survives "chain --replace", hence the wait keeps
// growing over scripts; it is never reset, since success leaves iPXE.
func (s *script) retry(try func(), again string) {
	s.add("isset ${gild-wait} || set gild-wait 2")
	s.add(":retry")
	try()
	s.add(":failed")
	s.add("echo gild: no answer from the server, trying again in ${gild-wait} s")
	s.add("sleep ${gild-wait}")
	for _, step := range [][2]int{{16, 30}, {8, 16}, {4, 8}, {2, 4}} {
		s.add(fmt.Sprintf("iseq ${gild-wait} %d && set gild-wait %d ||", step[0], step[1]))
	}
	if again != "" {
		s.add("chain --replace " + again + " || goto failed")
		return
	}
	s.add("goto retry")
}

func (s *script) bytes() []byte {
	return []byte(magic + s.b.String())
}
