package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// osDirectory: the file type is checked after opening.
const osDirectory = 0

func handleInfo(f *os.File) (info windows.ByHandleFileInformation, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return info, err
	}
	var callErr error
	err = raw.Control(func(h uintptr) { callErr = windows.GetFileInformationByHandle(windows.Handle(h), &info) })
	return info, errors.Join(err, callErr)
}

func statOf(f *os.File, fi fs.FileInfo) (Stat, error) {
	m := nanoseconds(fi.ModTime())
	st := Stat{Type: typeOf(fi.Mode()), Nlink: 1, Size: uint64(max(fi.Size(), 0)), Atime: m, Mtime: m, Ctime: m}
	info, err := handleInfo(f)
	if err != nil {
		return st, err
	}
	st.Dev, st.Nlink = uint64(info.VolumeSerialNumber), uint64(info.NumberOfLinks)
	st.Ino = uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)
	st.Atime = uint64(max(info.LastAccessTime.Nanoseconds(), 0))
	return st, nil
}

func statPathOf(r *os.Root, path string, _ bool, fi fs.FileInfo) (Stat, error) {
	if fi.Mode()&fs.ModeSymlink != 0 {
		// A link cannot be opened as such here; links of one size and time share a number.
		m := nanoseconds(fi.ModTime())
		return Stat{Type: TypeSymlink, Nlink: 1, Size: uint64(fi.Size()), Ino: m, Atime: m, Mtime: m, Ctime: m}, nil
	}
	f, err := r.Open(path)
	if err != nil {
		return Stat{}, err
	}
	st, err := statOf(f, fi)
	return st, errors.Join(err, f.Close())
}

func (d *hostDir) sysMkdir(n name) error  { return d.root.Mkdir(n.path, 0o777) }
func (d *hostDir) sysRmdir(n name) error  { return d.root.Remove(n.path) }
func (d *hostDir) sysUnlink(n name) error { return d.root.Remove(n.path) }

// sysRename works within one open directory: os.Root offers no more.
func (d *hostDir) sysRename(n name, nd *hostDir, nn name) error {
	if nd != d {
		return EXDEV
	}
	err := d.root.Rename(n.path, nn.path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	from, err1 := d.isDir(n)
	to, err2 := d.isDir(nn)
	switch {
	case err1 != nil || err2 != nil:
		return err
	case from && !to:
		return ENOTDIR
	case !from && to:
		return EISDIR
	}
	if err := d.root.Remove(nn.path); err != nil {
		return ENOTEMPTY
	}
	return d.root.Rename(n.path, nn.path)
}

func (d *hostDir) sysLink(n name, nd *hostDir, nn name) error {
	if nd != d {
		return EXDEV
	}
	return d.root.Link(n.path, nn.path)
}

func (d *hostDir) sysSymlink(target string, n name) error {
	return d.root.Symlink(filepath.FromSlash(target), n.path)
}

func (d *hostDir) sysReadlink(n name) (string, error) {
	t, err := d.root.Readlink(n.path)
	return filepath.ToSlash(t), err
}

func (d *hostDir) sysSetLinkTimes(name, Times) error { return ENOTSUP }

func setTimes(f *os.File, t Times) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var at, mt *windows.Filetime
	for _, p := range []struct {
		ns *uint64
		ft **windows.Filetime
	}{{t.Atime, &at}, {t.Mtime, &mt}} {
		if p.ns != nil {
			ft := windows.NsecToFiletime(int64(*p.ns))
			*p.ft = &ft
		}
	}
	var callErr error
	err = raw.Control(func(h uintptr) { callErr = windows.SetFileTime(windows.Handle(h), nil, at, mt) })
	return errors.Join(err, callErr)
}

// setAppend: appending seeks to the end first.
func setAppend(*os.File, bool) error { return nil }

func appendTo(f *os.File, p []byte) (n int, end uint64, err error) {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	n, err = f.Write(p)
	return n, uint64(at) + uint64(n), err
}

func syncDir(*os.File) error { return nil }

func syncFile(f *os.File, _ bool) error { return f.Sync() }

func allocate(f *os.File, off, n int64) error { return extend(f, off+n) }
