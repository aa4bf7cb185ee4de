package main

import (
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gild-dev/gild/test/lab/images"
)

// A tool writes the served disk to a device. Its stages run one after another,
// each a pipeline of programs.
type tool struct {
	name  string
	works []workName
	// slow keeps a full write that takes minutes, whatever the link, to loopback.
	slow   bool
	stages func(p place) [][]program
	ram    string // a file that the tool keeps in memory while it runs, if any
	// phases reads the tool's own account of its time from what its first program
	// printed.
	phases func(stdout []byte) (map[string]float64, error)
}

// does reports that the tool is measured at this work over this link.
func (t tool) does(work workName, link linkName) bool {
	return slices.Contains(t.works, work) && (!t.slow || work == delta || link == loopback)
}

// workName is a kind of work: what the target holds before.
type workName string

const (
	full  workName = "full"  // something unrelated
	delta workName = "delta" // the first version of the image
	boot  workName = "boot"
)

// program is one process: its name and arguments.
type program []string

// place is where a tool finds what it needs.
type place struct {
	base   string // URL of the stored forms
	gild   string // program
	ref    string // of gild's stored form
	target string // the whole disk, a block device
	root   string // its root partition, a block device of its own
	ram    string // directory in memory
	work   workName
}

// tools are gild and its peers, each as its own documentation has it used for
// this job.
func tools() []tool {
	both := []workName{full, delta}
	return []tool{
		{name: "gild", works: both, stages: gildWrite(), phases: gildPhases},
		{name: "gild-noreadback", works: both, stages: gildWrite("--read-back", "off"), phases: gildPhases},
		{name: "pipe-direct", works: both, stages: func(p place) [][]program {
			return [][]program{fetch(p, zstName, dd(p.target, "bs=4M", "oflag=direct"))}
		}},
		{name: "pipe-buffered", works: []workName{full}, stages: func(p place) [][]program {
			return [][]program{fetch(p, zstName, dd(p.target, "bs=4M"))}
		}},
		{name: "bmaptool", works: []workName{full}, stages: func(p place) [][]program {
			return [][]program{{{"bmaptool", "--quiet", "copy", "--bmap", p.base + "/" + bmapName, p.base + "/" + usedName, p.target}}}
		}},
		{name: "qemu-img", works: []workName{full}, ram: qcow2Name, stages: func(p place) [][]program {
			// Eight requests at a time, in any order: what qemu-img offers for speed.
			// Reading over HTTP by itself, version 7.2 hung with them and took minutes
			// without.
			file := filepath.Join(p.ram, qcow2Name)
			return [][]program{
				download(p, qcow2Name, file),
				{{"qemu-img", "convert", "-n", "-W", "-m", "8", "-t", "none", "-f", "qcow2", "-O", "raw", file, p.target}},
			}
		}},
		{name: "casync", works: both, slow: true, stages: func(p place) [][]program {
			// What the target holds is the seed where it may hold something of use.
			seed := "no"
			if p.work == delta {
				seed = "yes"
			}
			return [][]program{{{
				"casync", "extract", "--seed-output=" + seed, "--store=" + p.base + "/" + caibxStore, p.base + "/" + caibxName,
				p.target,
			}}}
		}},
		{name: "partclone", works: []workName{full}, stages: func(p place) [][]program {
			return [][]program{
				fetch(p, headName, dd(p.target, "bs=1M")),
				fetch(p, pclName, program{"partclone.restore", "--quiet", "--logfile", "/dev/null", "--source", "-", "--overwrite", p.root}),
				fetch(p, tailName, dd(p.target, "bs=1M", "oflag=seek_bytes", "seek="+tailStart())),
			}
		}},
		{name: "ram-dd", works: []workName{full}, ram: zstName, stages: func(p place) [][]program {
			file := filepath.Join(p.ram, zstName)
			return [][]program{
				download(p, zstName, file),
				{{"zstd", "-q", "-dc", file}, dd(p.target, "bs=4M", "oflag=direct")},
			}
		}},
	}
}

func gildWrite(flags ...string) func(p place) [][]program {
	return func(p place) [][]program {
		return [][]program{{slices.Concat(program{p.gild, "--json", "write", "--yes"}, flags, program{p.ref, p.target})}}
	}
}

// fetch is curl, zstd and what takes the raw bytes.
func fetch(p place, name string, to program) []program {
	return []program{{"curl", "--silent", "--show-error", "--fail", p.base + "/" + name}, {"zstd", "-q", "-dc"}, to}
}

// download is curl into a file.
func download(p place, name, file string) []program {
	return []program{{"curl", "--silent", "--show-error", "--fail", "--output", file, p.base + "/" + name}}
}

// dd writes whole blocks, although a pipe gives pieces.
func dd(to string, operands ...string) program {
	return slices.Concat(program{"dd", "of=" + to, "iflag=fullblock", "conv=fsync", "status=none"}, operands)
}

// tailStart is where the root partition ends, bytes.
func tailStart() string {
	offset, size := images.WorkSpec().RootExtent()
	return strconv.FormatInt(offset+size, 10)
}
