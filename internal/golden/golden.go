// Package golden is the stored image: a golden image laid down as an OCI
// artifact, described by values.
//
// A stored image is one manifest whose digest is the image's identity. It
// names a config (what the disk is and how it boots), the disk itself as
// independent zstd frames, a chunk table that says where each frame lies and
// what it must hash to, and the kernel and module archive that a machine
// needs to receive it. docs/formats.md is the specification.
//
// The package is pure: bytes in, values out. It is linked into the agent, so
// it stays small and depends on nothing that opens a file or a socket.
package golden

// Media types of the artifact and its parts (OCI image-spec v1.1, "Guidelines
// for Artifact Usage").
const (
	ArtifactType = "application/vnd.gild.golden.v1"

	MediaTypeManifest = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig   = "application/vnd.gild.golden.config.v1+json"
	MediaTypeDisk     = "application/vnd.gild.disk.v1+zstd"
	MediaTypeChunks   = "application/vnd.gild.chunks.v1"
	MediaTypeKernel   = "application/vnd.gild.kernel.v1"
	MediaTypeModules  = "application/vnd.gild.modules.v1.cpio+zstd"
)

// DefaultChunkSize is the number of raw bytes in one chunk: small enough that
// a lost connection costs little, large enough that a frame compresses well.
const DefaultChunkSize = 1 << 20

// Bounds that every reader of a stored image holds to, so that a hostile one
// cannot make it allocate without limit.
const (
	MinChunkSize    = 64 << 10
	MaxChunkSize    = 16 << 20
	MaxManifestSize = 4 << 20   // bytes; the OCI distribution spec's own limit
	MaxConfigSize   = 4 << 20   // bytes
	MaxTableSize    = 1 << 30   // bytes: 20 TiB of disk in 1 MiB chunks
	MaxKernelSize   = 256 << 20 // bytes
	MaxModulesSize  = 512 << 20 // bytes, compressed
)
