package reconcile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameNew(from int, name string, to int, as string) error {
	return unix.RenameatxNp(from, name, to, as, unix.RENAME_EXCL)
}

// hasSyncAll tells whether syncAll is there.
const hasSyncAll = false

func (d *dir) syncAll() error { return errors.ErrUnsupported }

func (f *osFile) punch(uint64, uint64) error { return errors.ErrUnsupported }

func reopenByDescriptor(*os.File, int) (*os.File, error) { return nil, errors.ErrUnsupported }
