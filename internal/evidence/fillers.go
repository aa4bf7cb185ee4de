package evidence

import "slices"

// commonUUIDs are what boards have whose vendor never set one: thousands of
// machines share each. They are in the form that [UUID] compares.
var commonUUIDs = canonical(
	"03000200-0400-0500-0006-000700080009", // AMI's default
	"00020003-0004-0005-0006-000700080009",
	"12345678-1234-5678-90ab-cddeefaabbcc",
	"12345678-1234-1234-1234-123456789abc",
	"12345678-1234-5678-1234-567812345678",
	"12345678-1234-5678-9abc-123456789abc",
	"01234567-89ab-cdef-0123-456789abcdef",
	"01234567-8910-1112-1314-151617181920",
	"11111111-2222-3333-4444-555555555555",
	"00000000-0000-0000-0000-000000000001",
	"fefefefe-fefe-fefe-fefe-fefefefefefe",
	"00000000-0000-0000-0000-ffffffffffff",
	"ffffffff-ffff-ffff-0000-000000000000",
	"aabbccdd-eeff-0011-2233-445566778899",
	"deadbeef-dead-beef-dead-beefdeadbeef",
)

func canonical(uuids ...string) []string {
	for i, u := range uuids {
		uuids[i] = min(u, swapped(u))
	}
	slices.Sort(uuids)
	return uuids
}

// fillers are serial numbers that vendors forgot to replace, without spaces and
// punctuation.
var fillers = []string{
	"tobefilledbyoem", "tobefilled", "defaultstring", "default", "defaultvalue", "notspecified", "notavailable", "notapplicable",
	"notset", "notprovided", "notdefined", "notsettable", "undefined", "unspecified", "unset", "unassigned",
	"systemserialnumber", "sysserialnumber", "systemserial", "systemserialno", "chassisserialnumber", "chassisserial",
	"baseboardserialnumber", "boardserialnumber", "baseserialnumber", "serialnumber", "serialno", "serial", "sn", "assettag", "assettagno",
	"noassettag", "noassettagspecified",
	"none", "no", "na", "nil", "null", "unknown", "empty", "blank", "invalid", "bad", "bad1", "oem", "oemserial", "oemserialnumber",
	"oemdefault",
	"string", "test", "tbd", "fillbyoem", "filledbyoem", "insertserialnumber", "yoursystemserial",
	"0123456789abcdef", "123456789abcdef", "1234567890abcdef", "123456789abc", "012345678910", "012345678901", "12345678910",
	"0", "1", "x", "f", "abcdefgh", "abcdefghij", "abcd1234", "1234abcd", "sernum0", "n0serial", "ssn12345678901234567", "sn123456789",
	"sn1234567890", "sn0123456789", "sn12345678",
	"eval", "evalboard", "engineeringsample", "sample", "prototype", "xxxxx", "1234", "12345", "54321", "0000001", "00000001", "000000001",
	"0000000001",
}
