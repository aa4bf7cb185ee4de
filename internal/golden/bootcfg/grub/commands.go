package grub

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// Codes of errors (include/grub/err.h).
const (
	errCode     = 1
	errReadFile = 4 // bad environment block
	errNotFound = 5
	errNoFile   = 7
	errArgument = 18
	errNoSearch = 17
)

// builtins are the commands that decide something.
var builtins map[string]func(*runner, *call) int

// silent are the commands that decide nothing: they wait, draw, speak to a
// terminal, or load a module, and succeed.
var silent = words(`rmmod echo clear ls lsmod play terminal terminal_input terminal_output terminfo serial
	loadfont lsfonts background_image background_color videoinfo videotest save_env list_env password password_pbkdf2
	authenticate lspci lsacpi lsefi lsefimmap lsefisystab lscoreboot keymap unload trust distrust list_trusted
	hexdump help history gettext nop parttool outb outw outl hdparm acpi
	devicetree fakebios loadbios cbmemc efi-watchdog wrmsr badram cutmem net_ls_cards net_ls_addr vbeinfo pcidump stall
	drivemap gptsync dump bli efitextmode module module2 xen_module kfreebsd_module kfreebsd_module_elf usb lsb`)

// strange are commands of GRUB whose outcome depends on the machine and is not
// modelled.
var strange = words(`cryptomount nativedisk net_bootp net_dhcp net_add_addr net_nslookup pxe_unload zfskey
	legacy_source legacy_configfile legacy_initrd legacy_kernel syslinux_source syslinux_configfile extract_legacy_entries_source
	extract_legacy_entries_configfile extract_syslinux_entries_source extract_syslinux_entries_configfile zfs-bootfs
	lua xnu_uuid kfreebsd_loadenv macppcbless mactelbless getenv setenv tpm2_key_protector_init plainmount uki connectefi versioncheck`)

// foreign start something that is no Linux kernel.
//
//nolint:misspell // freedos is the name of a command
var foreign = words(`chainloader multiboot multiboot2 xen_hypervisor kfreebsd knetbsd kopenbsd kfreebsd_module plan9 ntldr
	freedos truecrypt linux_xen xnu_kernel xnu_kernel64 xnu_resume appleloader i386-xen legacy_kernel efi_chainloader
	pxechainloader lnxbios`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

func init() {
	builtins = map[string]func(*runner, *call) int{
		"[": test, "test": test, "true": constant(0), "false": constant(errCode),
		"set": set, "unset": unset, "export": export, "eval": eval,
		"source": source, ".": source, "configfile": configfile, "normal": configfile,
		"load_env": loadEnv, "search": search, "search.file": searchBy("--file"),
		"search.fs_uuid": searchBy("--fs-uuid"), "search.fs_label": searchBy("--label"), "search.label": searchBy("--label"),
		"probe": probe, "regexp": regexpCommand, "loopback": loopback,
		"break": jump(flowBreak), "continue": jump(flowContinue), "return": returnCommand, "shift": shift, "setparams": setparams,
		"menuentry": menuentry, "submenu": menuentry, "blscfg": blscfg, "boot": boot,
		"increment": count(1), "decrement": count(-1),
		"linux": linux, "linux16": linux, "linuxefi": linux, "initrd": initrd, "initrd16": initrd, "initrdefi": initrd,
		"sleep": sleep, "cpuid": cpuid, "keystatus": unknownCode(1), "cmostest": unknownCode(1), "hwmatch": unknownCode(1),
		"file": unknownCode(1), "verify_detached": unknownCode(0), "fdtdump": unknownValue, "insmod": insmod,
		"cat": readable, "cmp": readable, "crc": readable, "testload": readable, "hashsum": hashsum,
		"read": unknownValue, "date": unknownValue, "smbios": unknownValue, "getkey": unknownValue, "net_get_dhcp_option": unknownValue,
		"rdmsr": unknownValue, "inb": unknownValue, "inw": unknownValue, "inl": unknownValue, "setpci": unknownValue,
	}
	for name := range foreign {
		builtins[name] = chainload
	}
	for _, name := range strings.Fields("md5sum sha1sum sha256sum sha512sum") {
		builtins[name] = hashsum
	}
	for _, name := range strings.Fields("fwsetup exit halt reboot poweroff") {
		builtins[name] = leave
	}
}

func constant(code int) func(*runner, *call) int {
	return func(*runner, *call) int { return code }
}

// set takes its first argument only.
func set(r *runner, c *call) int {
	if len(c.args) == 0 {
		return 0
	}
	name, value, ok := strings.Cut(c.args[0], "=")
	if !ok {
		return errArgument
	}
	return r.assign(name, value)
}

func unset(r *runner, c *call) int {
	for _, name := range c.args {
		delete(r.vars, name)
		delete(r.exported, name)
	}
	return 0
}

// export sets no value: a=b is the name of a variable here.
func export(r *runner, c *call) int {
	for _, name := range c.args {
		r.exported[name] = true
	}
	return 0
}

// count adds to a variable (Red Hat's increment and decrement).
func count(by int) func(*runner, *call) int {
	return func(r *runner, c *call) int {
		if len(c.args) != 1 {
			return errArgument
		}
		old, ok := r.vars[c.args[0]]
		if !ok {
			return errArgument
		}
		if isUnknown(old) {
			return 0
		}
		r.vars[c.args[0]] = strconv.Itoa(int(number(old)) + by)
		return 0
	}
}

func eval(r *runner, c *call) int {
	r.code = 0
	s := script.New(r.file0, strings.Join(c.args, " "))
	for i := range s.Lines {
		s.Lines[i].Number = c.line
	}
	shell{r}.script(s)
	return r.code
}

// source runs a file as if it stood here. That it is missing is no error to the
// script.
func source(r *runner, c *call) int {
	if len(c.args) == 0 {
		return errArgument
	}
	f, known := r.file(c.args[0])
	data, exists := "", false
	if known {
		data, exists, known = r.read(f)
	}
	if !known {
		r.remark(c.line, fmt.Sprintf("%s cannot be read", strings.ReplaceAll(c.args[0], unknown, "?")))
	}
	if exists {
		file, dir := r.vars["config_file"], r.vars["config_directory"]
		shell{r}.script(script.New(f.String(), data))
		if !r.ended() {
			r.vars["config_file"], r.vars["config_directory"] = file, dir
		}
	}
	return 0
}

// configfile opens a context. One that makes entries shows its own menu and
// does not come back.
func configfile(r *runner, c *call) int {
	name := r.vars["prefix"] + "/grub.cfg"
	if len(c.args) > 0 {
		name = c.args[0]
	} else if c.name == "configfile" {
		return errArgument
	}
	f, known := r.file(name)
	if !known {
		r.remark(c.line, fmt.Sprintf("%s cannot be read", strings.ReplaceAll(name, unknown, "?")))
		return 0
	}
	if r.depth++; r.depth > script.MaxDepth {
		r.depth--
		return errCode
	}
	leave := r.newContext(r.m.Flavour >= RedHat9)
	r.config(f)
	r.depth--
	if !r.ended() {
		leave()
	}
	return 0
}

func loadEnv(r *runner, c *call) int {
	name, only := r.vars["prefix"]+"/grubenv", []string(nil)
	for i := 0; i < len(c.args); i++ {
		switch a := c.args[i]; {
		case (a == "-f" || a == "--file") && i+1 < len(c.args):
			i++
			name = c.args[i]
		case strings.HasPrefix(a, "--file="):
			name = strings.TrimPrefix(a, "--file=")
		case strings.HasPrefix(a, "-"):
		default:
			only = append(only, a)
		}
	}
	f, known := r.file(name)
	data, exists := "", false
	if known {
		data, exists, known = r.read(f)
	}
	if !known {
		r.remark(c.line, "the environment block "+strings.ReplaceAll(name, unknown, "?")+" cannot be read")
	}
	if !exists {
		return errNoFile
	}
	list, ok := parseEnv(data)
	if !ok {
		return errReadFile
	}
	for _, v := range list {
		if only == nil || contains(only, v.name) {
			r.assign(v.name, v.value)
			r.fromEnv = append(r.fromEnv, envRecord{v, f.String()})
		}
	}
	return 0
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// loopback makes a device of a file, which is not looked into.
func loopback(r *runner, c *call) int {
	for _, a := range c.args {
		if !strings.HasPrefix(a, "-") {
			if r.looped == nil {
				r.looped = map[string]bool{}
			}
			r.looped[a] = true
			return 0
		}
	}
	return errArgument
}

// regexpCommand matches POSIX extended expressions and keeps groups.
func regexpCommand(r *runner, c *call) int {
	type keep struct {
		group int
		name  string
	}
	var keeps []keep
	var rest []string
	for i := 0; i < len(c.args); i++ {
		a := c.args[i]
		value, isSet := strings.CutPrefix(a, "--set=")
		if (a == "--set" || a == "-s") && i+1 < len(c.args) {
			i++
			value, isSet = c.args[i], true
		}
		if !isSet {
			rest = append(rest, a)
			continue
		}
		k := keep{1, value}
		if n, name, ok := strings.Cut(value, ":"); ok {
			group, err := strconv.Atoi(n)
			if err != nil {
				return errArgument
			}
			k = keep{group, name}
		}
		keeps = append(keeps, k)
	}
	if len(rest) != 2 {
		return errArgument
	}
	if isUnknown(rest[0] + rest[1]) {
		return r.ask(c.line, "what regexp compares", 2)
	}
	re, err := regexp.CompilePOSIX(rest[0])
	if err != nil || strings.Contains(rest[0], `\`) && regexp.MustCompile(`\\[0-9wWsSbB<>]`).MatchString(rest[0]) {
		return r.ask(c.line, "what regexp makes of "+rest[0], 2)
	}
	groups := re.FindStringSubmatch(rest[1])
	if groups == nil {
		return errCode
	}
	for _, k := range keeps {
		if k.group < 0 || k.group >= len(groups) {
			return errArgument
		}
		r.vars[k.name] = groups[k.group]
	}
	return 0
}

func jump(kind flowKind) func(*runner, *call) int {
	return func(r *runner, c *call) int {
		n := 1
		if len(c.args) > 0 {
			n = int(number(c.args[0]))
		}
		if n < 1 {
			return errArgument
		}
		r.flow = flow{kind, n}
		return 0
	}
}

func returnCommand(r *runner, c *call) int {
	if !r.positional {
		return errArgument
	}
	code := r.code
	if len(c.args) > 0 {
		code = int(number(c.args[0]))
	}
	r.flow = flow{kind: flowReturn}
	return code
}

func shift(r *runner, c *call) int {
	n := 1
	if len(c.args) > 0 {
		n = int(number(c.args[0]))
	}
	if n < 0 || n > len(r.args) {
		return errArgument
	}
	r.args = r.args[n:]
	return 0
}

func setparams(r *runner, c *call) int {
	r.args = c.args
	return 0
}
