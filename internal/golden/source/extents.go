package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gild-dev/gild/internal/golden/source/virtual"
)

// openExtents opens the disk of a VMDK's descriptor. The files that it names
// have to lie beside it: a name that leads elsewhere, by a path or a link,
// would have an image read what its maker has no business with.
func (d *Disk) openExtents() error {
	text, err := io.ReadAll(io.NewSectionReader(d.in.file, 0, virtual.MaxVMDKDescriptor+1))
	if err != nil {
		return bare(err)
	}
	if len(text) > virtual.MaxVMDKDescriptor {
		return fmt.Errorf("the descriptor of a VMDK image has more than %d bytes: %s", virtual.MaxVMDKDescriptor, hintConvert)
	}
	set, err := virtual.OpenVMDKSet(text, func(name string) (io.ReaderAt, int64, error) {
		if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, 0, errors.New("it is not the name of a file beside the descriptor")
		}
		place := filepath.Join(filepath.Dir(d.in.name), name)
		if info, err := os.Lstat(place); err != nil {
			return nil, 0, bare(err)
		} else if !info.Mode().IsRegular() {
			return nil, 0, errors.New("it is no regular file")
		}
		in, err := openSeekable(place)
		if err != nil {
			return nil, 0, err
		}
		d.in.join(in)
		return in.file, in.size, nil
	})
	if err != nil {
		return err
	}
	d.content = &imageDisk{image: set}
	return nil
}

// join has another file proven and closed with this one.
func (in *input) join(other *input) {
	verify, closeThis := in.verify, in.close
	in.verify = func() error { return errors.Join(verify(), other.verify()) }
	in.close = func() error { return errors.Join(closeThis(), other.close()) }
}
