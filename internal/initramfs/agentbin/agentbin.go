// Package agentbin carries the agent inside of gild, as `make` has built it
// from the same commit.
package agentbin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// A pattern for the programs alone would break a plain `go build`, which has
// none of them: the whole folder is taken, its few kilobytes of text included.
//
//go:embed *
var files embed.FS

// MissingError says that this gild was built without the agent for an
// architecture.
type MissingError struct{ Arch string }

func (e *MissingError) Error() string { return "this gild was built without the agent for " + e.Arch }

// Hint says how to get a gild that has it.
func (e *MissingError) Hint() string { return "run `make` in its source folder to get one with it" }

// Agent returns the agent, a static program, for a Go architecture ("amd64",
// "arm64"), or a *MissingError.
func Agent(arch string) ([]byte, error) { return agent(files, arch) }

func agent(files fs.FS, arch string) ([]byte, error) {
	name := "gild-init-" + arch
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%.20q is not an architecture", arch)
	}
	data, err := fs.ReadFile(files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{arch}
	}
	return data, err
}
