package tftpd

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Opener looks up a file that a client asks for. The name is valid by
// [fs.ValidPath] but otherwise the client's: an Opener MUST look it up in a
// fixed set and never join it to a path. It is called once for each transfer,
// concurrently. A content that is an [io.Closer] is closed at the end of the
// transfer. An error that is [fs.ErrNotExist] is told to the client as "no such
// file", any other as a failure of the server.
type Opener func(name string) (content io.ReaderAt, size int64, err error)

// Table serves the files of a fixed table of names and paths. The map must not
// change afterwards.
func Table(paths map[string]string) Opener {
	return func(name string) (io.ReaderAt, int64, error) {
		path, ok := paths[name]
		if !ok {
			return nil, 0, fs.ErrNotExist
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		st, err := f.Stat()
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s: not a regular file", path)
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, st.Size(), nil
	}
}
