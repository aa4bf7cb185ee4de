package cli

import "github.com/spf13/cobra"

// topics are the help pages that are no commands: gild help selectors.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "selectors", Short: "how to select machines by label", Long: selectorsHelp},
		{Use: "disk-rules", Short: "how to choose a disk", Long: diskRulesHelp},
	}
}

const selectorsHelp = `A selector is a comma-separated list of terms; a machine must match all of them.

  rack=b7            label rack is b7
  rack!=b7           label rack is something else or not set
  rack in (b7,b8)    label rack is one of these
  rack               label rack is set
  !rack              label rack is not set

Every machine has the labels name and state as well (its state as 'gild machine
ls' shows it, with hyphens: state=handing-off), and while it is in trouble the
label trouble with the cause (trouble=disk-error, or just trouble). A state or
cause that there is not is an error. Groups do not see these two.

Labels are set with 'gild machine edit MACHINE --label rack=b7' or in the files
of 'gild apply'. Selectors go with -l to machine ls, machine edit, flash,
cancel and watch, and define which machines are in a group. Quote them in a
shell: ! and () are special there.`

const diskRulesHelp = `A disk rule chooses one disk of a machine. It is a comma-separated list of
terms, all of which must hold:

  serial=S4EWNX0R    wwn=0x5000c500a1b2c3d4    name=nvme0n1
  path=pci-0000:00:1f.2-ata-1
  transport=nvme     model~samsung             size>=400G    size<=2TiB
  smallest           largest

"=" ignores case, "~" matches a substring. Sizes are bytes or have a unit: K, M,
G, T are powers of 1000 as on a disk's label, Ki, Mi, Gi, Ti powers of 1024;
"size=" allows one percent. smallest and largest choose among the disks that
match all other terms.

Without a rule the machine must have exactly one disk. Read-only disks and empty
drives never match; removable and USB disks match only if a term names the disk
itself (serial, wwn, name, path, transport). If no disk or several disks match,
the flash stops before the first write and lists what it found.

A disk that holds LVM, RAID, ZFS, LUKS, Ceph or partitions not created by gild
is overwritten only with --wipe. --keep preserves partitions by number or label;
it is refused if the image would overlap them.`

const identityHelp = `An identity makes each clone of an image a machine of its own. Identities are
defined by name in the files of 'gild apply'; a flash uses the one given by
--identity, by its machine or by a group. It is written to the new system before
that starts.

  hostname           the name of the system (default: the machine's name)
  machineID          new (default), keep, or 32 hex digits
  sshHostKeys        new (default) or keep
  network            list of links: mac or name (default: the boot link),
                     dhcp, addresses (10.0.0.5/24), gateway, mtu
  dns, search        name servers, search domains
  authorizedKeys     lines of authorized_keys by user
  files              list: path, content, mode, owner, group
  cloudInit          NoCloud seed: userData, metaData, networkConfig, vendorData
  credentials        systemd credentials by name
  newIDs             new UUIDs for disk and file systems: true or false
  beacon             unit, cloud-init or off: how the new system reports in

With newIDs the disk, its partitions and its file systems (ext2 to ext4, XFS,
FAT, swap) get new identifiers; fstab, crypttab, GRUB's configuration and the
like are updated. What cannot be updated is kept, and an event says why: a UUID
built into GRUB's core or a unified kernel image, swap space that an initrd may
look for, an ext4 file system whose checksums depend on its UUID ('tune2fs -O
metadata_csum_seed' on the golden image changes that). A system whose root has a
new UUID is started by kexec, or as --handoff says.

Values are templates with these variables:

  {{ .Name }} {{ .Hostname }} {{ .MAC }} {{ .UUID }} {{ .Serial }} {{ .ID }}
  {{ .Image }} {{ .Server }} {{ .Labels.rack }} {{ .Values.role }}
  {{ index .Labels "site/rack" }}  {{ get .Values "role" "none" }}

and these functions: yaml, json and shell quote a value for such a file; plain
accepts only letters, digits and -._:/@+,=; lower, upper; eq, ne, and, or, not
for {{ if }}. A missing or empty variable is an error before anything is armed,
unless it is only tested, as in {{ if .Name }} and {{ or .Name "spare" }}. List
entries that are empty are left out. Values are set with 'gild machine edit
--value KEY=VALUE' or in the files of 'gild apply'.`
