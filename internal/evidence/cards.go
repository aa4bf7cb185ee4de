package evidence

import (
	"slices"
	"strings"
)

// sharedCards are addresses that makers gave to every piece of a product: USB
// adapters without a number of their own, and the virtual card that a board's
// management controller (BMC) shows to its host. They identify nothing.
var sharedCards = []string{
	"b0:3a:f2:b6:05:9f", "be:3a:f2:b6:05:9f", // AMI MegaRAC's virtual card, both ends
	"00:e0:4c:53:44:58",                      // Realtek RTL8152 and 8153 that were never programmed
	"88:88:88:88:87:88",                      // Realtek RTL8168 with an empty EEPROM
	"00:0e:c6:81:79:01", "00:0e:c6:87:72:01", // ASIX AX88179 and AX88772, likewise
	"00:11:22:33:44:55", "00:12:34:56:78:90", "12:34:56:78:9a:bc", "00:01:02:03:04:05", // written in by hand
}

// SharedCard reports whether an address, lower case with colons, is one that
// many cards are known to have.
func SharedCard(mac string) bool { return slices.Contains(sharedCards, mac) }

// busDrivers are the Linux drivers of cards that a management controller shows
// to its host by USB, and of telephones: their addresses are made up.
var busDrivers = []string{"cdc_ether", "cdc_ncm", "cdc_eem", "cdc_subset", "cdc_mbim", "rndis_host", "usb0", "ipheth"}

// MadeUp reports whether a card's address was made up by the controller behind
// it, as that of a BMC's virtual card: it is locally administered (IEEE 802,
// clause 8.4) and on such a driver.
func MadeUp(mac, driver string) bool {
	return len(mac) > 1 && strings.IndexByte("2367abef", mac[1]) >= 0 && slices.Contains(busDrivers, driver)
}
