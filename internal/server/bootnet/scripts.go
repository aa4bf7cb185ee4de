package bootnet

import (
	"github.com/gild-dev/gild/internal/server/door/firmware"
	"github.com/gild-dev/gild/internal/server/ipxe"
)

// Scripts writes iPXE scripts.
func Scripts() firmware.Scripts {
	return firmware.Scripts{
		Chain:     func(url string) ([]byte, error) { return ipxe.Chain{URL: url}.Script() },
		LocalDisk: func(why string) []byte { return ipxe.LocalDisk{Message: why}.Script() },
		Boot: func(kernel, initrd, cmdline, why, again string) ([]byte, error) {
			return ipxe.Boot{
				Kernel: kernel, Initrds: []ipxe.Initrd{{Name: "initramfs", URL: initrd}},
				Cmdline: cmdline, Message: why, Again: again,
			}.Script()
		},
	}
}
