package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

var errNotDir error = windows.ERROR_DIRECTORY

// identify adds what only an open file tells.
func identify(f *os.File, st *Stat) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var info windows.ByHandleFileInformation
	var callErr error
	err = raw.Control(func(h uintptr) { callErr = windows.GetFileInformationByHandle(windows.Handle(h), &info) })
	if err = errors.Join(err, callErr); err != nil {
		return err
	}
	st.Dev, st.Nlink = uint64(info.VolumeSerialNumber), uint64(info.NumberOfLinks)
	st.Ino = uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)
	st.Atime = uint64(max(info.LastAccessTime.Nanoseconds(), 0))
	return nil
}

// Lock takes a byte far behind the end of the file, so that the rest can be read.
func (f *osFile) Lock() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(h uintptr) {
		at := &windows.Overlapped{OffsetHigh: 1 << 30}
		callErr = windows.LockFileEx(windows.Handle(h), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	})
	if errors.Is(callErr, windows.ERROR_LOCK_VIOLATION) {
		return ErrInUse
	}
	return errors.Join(err, callErr)
}

func isItemOfSystem(err error) bool {
	for _, e := range []error{
		windows.ERROR_DIRECTORY, windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, windows.ERROR_INVALID_NAME, windows.ERROR_DIR_NOT_EMPTY,
		windows.ERROR_NOT_SAME_DEVICE, windows.ERROR_BUSY, windows.ERROR_FILENAME_EXCED_RANGE, windows.ERROR_TOO_MANY_LINKS, windows.ERROR_INVALID_PARAMETER,
		windows.ERROR_PRIVILEGE_NOT_HELD, windows.ERROR_BAD_PATHNAME,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsNotEmpty tells whether a directory could not be removed for what is in it.
func IsNotEmpty(err error) bool { return errors.Is(err, windows.ERROR_DIR_NOT_EMPTY) }
