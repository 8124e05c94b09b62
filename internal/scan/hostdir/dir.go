package hostdir

import (
	"errors"
	"os"
)

// ErrBlind says that a directory cannot be watched by this user.
var ErrBlind = errors.New("directory cannot be watched")

// Buffer is memory that one reader of directories uses again and again. The zero value is usable.
type Buffer struct{ buf []byte }

// Descend opens the directory that the names lead to.
func (h *Dir) Descend(names []string) (*Dir, error) {
	at := h
	for _, name := range names {
		next, err := at.OpenDir(name)
		if at != h {
			err = errors.Join(err, at.Close())
		}
		if err != nil {
			if next != nil {
				err = errors.Join(err, next.Close())
			}
			return nil, err
		}
		at = next
	}
	if at == h {
		return h.OpenDir(".")
	}
	return at, nil
}

// Extents counts the pieces of data in a file with holes, and their bytes; false: there are more than most.
func Extents(f *os.File, size uint64, most int) (extents, data uint64, ok bool) {
	for off := uint64(0); ; extents++ {
		if off = NextData(f, off, size); off >= size {
			return extents, data, true
		}
		if extents == uint64(most) {
			return extents, data, false
		}
		end := nextHole(f, off, size)
		data += end - off
		off = end
	}
}
