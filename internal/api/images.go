package api

import "encoding/json"

// Image is one stored image as a list shows it.
type Image struct {
	Name       string      `json:"name"`
	Digest     string      `json:"digest"`
	Size       int64       `json:"size"`   // raw bytes
	Stored     int64       `json:"stored"` // bytes
	Data       int64       `json:"data"`   // raw bytes that are not zero
	Release    string      `json:"release,omitempty"`
	Arch       string      `json:"arch,omitempty"`
	Cmdline    string      `json:"cmdline,omitempty"`
	Firmware   []string    `json:"firmware,omitempty"`   // what can boot it by itself: "bios", "uefi"
	Scheme     string      `json:"scheme,omitempty"`     // "gpt", "mbr" or "none"
	SectorSize int         `json:"sectorSize,omitempty"` // bytes
	TableID    string      `json:"tableID,omitempty"`    // GPT disk GUID or MBR signature: Disk.TableID of a disk with this image
	Partitions []Partition `json:"partitions,omitempty"`
	Root       int         `json:"root,omitempty"` // number of the root partition
	// Instant is "ready", or why its system cannot be entered before its disk
	// is complete; empty: not known.
	Instant string `json:"instant,omitempty"`
	// Handoff is what a flash takes where nothing else says how to enter the
	// system; empty: auto.
	Handoff string `json:"handoff,omitempty"`
	// Damage says why no more than name and digest is known; `gild image
	// verify` looks closer.
	Damage string `json:"damage,omitempty"`
}

// ImageDetails is all that is known of one stored image.
type ImageDetails struct {
	Image
	ChunkSize  int64 `json:"chunkSize"`  // raw bytes
	DataChunks int   `json:"dataChunks"` // chunks that are not zero
	// Parts are the stored bytes of its layers by media type.
	Parts map[string]int64 `json:"parts"`
	// Way is how a machine enters the system where nothing else says how, and
	// Why the reason.
	Way string `json:"way"`
	Why string `json:"why"`
	// Config is the config of the image (docs/formats.md), as JSON.
	Config json.RawMessage `json:"config"`
}

// Verification is how far every byte of an image has been compared with its
// hash: one line of the answer, about one a second. The last one has Ended.
type Verification struct {
	Done  int64  `json:"done"`            // raw bytes that were read and are right
	Total int64  `json:"total"`           // raw bytes of the disk; 0: not known yet
	Ended bool   `json:"ended,omitempty"` // no line follows
	Error string `json:"error,omitempty"` // which part is damaged or missing; empty at the end: none is
}

// RemovedImages are images that were removed, sorted by name.
type RemovedImages struct {
	Removed []RemovedImage `json:"removed"`
}

// RemovedImage is an image that was removed, and who named it still.
type RemovedImage struct {
	Name string `json:"name"`
	Uses []Use  `json:"uses"` // empty: nobody did
}

// StoredImage is an image that has just got its name.
type StoredImage struct {
	Image
	// Replaced is the digest of the image that had the name before; empty: none
	// had, or the same.
	Replaced string `json:"replaced,omitempty"`
}

// Alias is one name more for a stored image.
type Alias struct {
	Name string `json:"name" maxLength:"100" doc:"lower case letters and digits, with single . _ or - between them"`
}

// Blob is a part of an image on its way to a server.
type Blob struct {
	Digest   string `json:"digest"`
	Received int64  `json:"received"` // bytes
	Whole    bool   `json:"whole"`    // all of it is there, and is what the digest says
}
