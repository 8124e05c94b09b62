package hostdir

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// statOpen asks for what only an open file tells: its number, its names, and when anything of it changed.
func statOpen(f *os.File, fi fs.FileInfo) (Stat, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return Stat{}, err
	}
	var info windows.ByHandleFileInformation
	var callErr error
	err = raw.Control(func(h uintptr) { callErr = windows.GetFileInformationByHandle(windows.Handle(h), &info) })
	if err := errors.Join(err, callErr); err != nil {
		return Stat{}, err
	}
	s := Stat{
		Nlink: info.NumberOfLinks, Dev: uint64(info.VolumeSerialNumber), Ino: uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
	}
	s.statMode(fi)
	s.Ctime = s.Mtime // the time of a change of attributes is not to be had by this call; the attributes are compared
	return s, nil
}

func statNamed(r *os.Root, name string, fi fs.FileInfo) (Stat, error) {
	if fi.Mode()&fs.ModeSymlink != 0 || !fi.Mode().IsRegular() && !fi.IsDir() {
		// A link cannot be opened as such here; its number is made of what is known, as internal/vfs does.
		var s Stat
		s.statMode(fi)
		s.Nlink, s.Ino, s.Ctime = 1, max(s.Mtime%(1<<61), 1), s.Mtime
		return s, nil
	}
	f, err := r.Open(name)
	if err != nil {
		return Stat{}, err
	}
	s, err := statOpen(f, fi)
	return s, errors.Join(err, f.Close())
}
