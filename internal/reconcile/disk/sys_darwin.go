package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameNew(from int, name string, to int, as string) error {
	return unix.RenameatxNp(from, name, to, as, unix.RENAME_EXCL)
}

// HasSyncAll tells whether syncAll is there.
const HasSyncAll = false

func (d *dir) SyncAll() error { return errors.ErrUnsupported }

func (f *osFile) Punch(uint64, uint64) error { return errors.ErrUnsupported }

func reopenByDescriptor(*os.File, int) (*os.File, error) { return nil, errors.ErrUnsupported }
