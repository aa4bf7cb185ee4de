package cli

import "github.com/spf13/cobra"

// topics are the help pages that are no commands: gild help selectors.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "selectors", Short: "how machines are selected by their labels", Long: selectorsHelp},
		{Use: "disk-rules", Short: "how a rule says which disk is meant", Long: diskRulesHelp},
		{Use: "identity", Short: "how a clone becomes its own machine", Long: identityHelp},
	}
}

const selectorsHelp = `A selector is terms joined by commas; a machine must match all of them.

  rack=b7            the label rack is b7
  rack!=b7           it is not, or there is none
  rack in (b7,b8)    it is one of these
  rack               there is such a label
  !rack              there is none

Labels are set with 'gild machine edit MACHINE --label rack=b7' or in the files
of 'gild apply'. Selectors go with -l to machine ls, machine edit, flash,
cancel and watch, and say which machines a group has. In a shell put them in
quotes: ! and () mean something there.`

const diskRulesHelp = `A disk rule says which of a machine's disks is meant. It is terms joined by
commas, all of which must hold:

  serial=S4EWNX0R    wwn=0x5000c500a1b2c3d4    name=nvme0n1
  path=pci-0000:00:1f.2-ata-1
  transport=nvme     model~samsung             size>=400G    size<=2TiB
  smallest           largest

"=" compares without regard to case, "~" looks for a part. Sizes are bytes or
have a unit: K, M, G, T are powers of 1000 as on the label of a disk, Ki, Mi,
Gi, Ti powers of 1024; "size=" allows one percent. smallest or largest picks
one of those that all other terms leave.

No rule means the machine's only disk. Disks that are read-only or empty
drives are never meant; removable and USB ones only when a term names the disk
itself (serial, wwn, name, path, transport). If no disk matches, or several,
the flash stops before its first write and lists what it saw.

A disk that holds LVM, RAID, ZFS, LUKS, Ceph or partitions that gild did not
put there is overwritten only with --wipe. --keep preserves partitions by
number or label, and is refused where the image would overlap them.`

const identityHelp = `An identity makes a clone its own machine. Identities are kept in the files of
'gild apply' under a name, and a flash takes one by --identity, from its
machine or from a group. It is written to the new system before that starts.

  hostname           the name of the system (default: that of its machine)
  machineID          new (default), keep, or 32 hex digits
  sshHostKeys        new (default) or keep
  network            list of links: mac or name (none: the one it came by),
                     dhcp, addresses (10.0.0.5/24), gateway, mtu
  dns, search        name servers, search domains
  authorizedKeys     lines of authorized_keys by user
  files              list: path, content, mode, owner, group
  cloudInit          NoCloud seed: userData, metaData, networkConfig, vendorData
  credentials        systemd credentials by name
  newIDs             own UUIDs for disk and file systems: true or false
  beacon             unit, cloud-init or off: how the new system says it runs

With newIDs the disk, its partitions and its file systems (ext2 to ext4, XFS,
FAT, swap) get identifiers of their own; fstab, crypttab, the configuration of
GRUB and the like follow. What cannot follow stays as in the image, and an
event says why: a UUID that GRUB's core or a unified kernel image has built in,
swap space that an initrd may look for, an ext4 whose checksums are made with
its UUID ('tune2fs -O metadata_csum_seed' on the golden image changes that). A
system whose root has a new UUID is entered by kexec, or as --handoff says.

Texts are templates with these values:

  {{ .Name }} {{ .Hostname }} {{ .MAC }} {{ .UUID }} {{ .Serial }} {{ .ID }}
  {{ .Image }} {{ .Server }} {{ .Labels.rack }} {{ .Values.role }}
  {{ index .Labels "site/rack" }}  {{ get .Values "role" "none" }}

and these functions: yaml, json and shell quote a value for such a file, plain
lets only letters, digits and -._:/@+,= pass, lower, upper; eq, ne, and, or,
not for {{ if }}. A value that is put into a text and is missing or empty is an
error before anything is armed; {{ if .Name }} and {{ or .Name "spare" }} only
ask, and an entry of a list that comes out empty is left out. Values are set
with 'gild machine edit --value KEY=VALUE' or in the files of 'gild apply'.`
