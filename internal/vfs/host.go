package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Host is a directory of the machine as a tree. Names that are not UTF-8 are left out of listings, since guests
// could not use them.
type Host struct{ root *os.Root }

// OpenHost opens a host directory.
func OpenHost(path string) (*Host, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open host directory: %w", err)
	}
	return &Host{r}, nil
}

// Root opens the top directory.
func (h *Host) Root() (Dir, error) { return openHostDir(h, h.root, ".") }

// Close releases the directory; what was opened below stays open.
func (h *Host) Close() error { return h.root.Close() }

type hostFile struct {
	f         *os.File
	typ       FileType
	appending bool // the descriptor is in append mode
}

type hostDir struct {
	hostFile
	root *os.Root
	tree *Host
}

func openHostDir(h *Host, r *os.Root, path string) (Dir, error) {
	sub, err := r.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f, err := sub.Open(".")
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return &hostDir{hostFile{f: f, typ: TypeDirectory}, sub, h}, nil
}

// HostFile makes a File of a regular file that is open.
func HostFile(f *os.File) (File, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, EINVAL
	}
	return &hostFile{f: f, typ: TypeRegular}, nil
}

func typeOf(m fs.FileMode) FileType {
	switch {
	case m.IsRegular():
		return TypeRegular
	case m.IsDir():
		return TypeDirectory
	case m&fs.ModeSymlink != 0:
		return TypeSymlink
	case m&fs.ModeCharDevice != 0:
		return TypeCharDevice
	case m&fs.ModeDevice != 0:
		return TypeBlockDevice
	case m&fs.ModeSocket != 0:
		return TypeSocketStream
	}
	return TypeUnknown
}

func nanoseconds(t time.Time) uint64 {
	if t.Before(time.Unix(0, 0)) {
		return 0
	}
	return uint64(t.UnixNano())
}

// timeOf is the time to give to the os package, for which zero means none.
func timeOf(ns *uint64) (time.Time, error) {
	if ns == nil {
		return time.Time{}, nil
	}
	if *ns > 1<<63-1 {
		return time.Time{}, EINVAL
	}
	return time.Unix(0, int64(*ns)), nil
}

func (f *hostFile) Type() FileType { return f.typ }

func (f *hostFile) Stat() (Stat, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return Stat{}, err
	}
	return statOf(f.f, fi)
}

func (f *hostFile) SetTimes(t Times) error {
	if _, err := timeOf(t.Atime); err != nil {
		return err
	}
	if _, err := timeOf(t.Mtime); err != nil {
		return err
	}
	return setTimes(f.f, t)
}

func (f *hostFile) Sync(dataOnly bool) error {
	if f.typ == TypeDirectory {
		return syncDir(f.f)
	}
	return syncFile(f.f, dataOnly)
}

func (f *hostFile) Close() error { return f.f.Close() }

func (f *hostFile) ReadAt(p []byte, off uint64) (int, error) {
	if off > 1<<63-1 {
		return 0, EINVAL
	}
	n, err := f.f.ReadAt(p, int64(off))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *hostFile) WriteAt(p []byte, off uint64) (int, error) {
	if off > 1<<63-1-uint64(len(p)) {
		return 0, EFBIG
	}
	if err := f.setAppend(false); err != nil {
		return 0, err
	}
	return f.f.WriteAt(p, int64(off))
}

func (f *hostFile) Append(p []byte) (int, uint64, error) {
	if err := f.setAppend(true); err != nil {
		return 0, 0, err
	}
	return appendTo(f.f, p)
}

func (f *hostFile) setAppend(on bool) error {
	if f.appending == on {
		return nil
	}
	if err := setAppend(f.f, on); err != nil {
		return err
	}
	f.appending = on
	return nil
}

func (f *hostFile) SetSize(size uint64) error {
	if size > 1<<63-1 {
		return EFBIG
	}
	return f.f.Truncate(int64(size))
}

func (f *hostFile) Allocate(off, n uint64) error {
	if n == 0 || off > 1<<63-1 {
		return EINVAL
	}
	if n > 1<<63-1-off {
		return EFBIG
	}
	return allocate(f.f, int64(off), int64(n))
}

// extend is Allocate for systems that have no such call.
func extend(f *os.File, end int64) error {
	fi, err := f.Stat()
	if err != nil || fi.Size() >= end {
		return err
	}
	return f.Truncate(end)
}

// Read and Write are for what is neither regular nor a directory.
func (f *hostFile) Read(p []byte) (int, error)  { return f.f.Read(p) }
func (f *hostFile) Write(p []byte) (int, error) { return f.f.Write(p) }

// OSFile lets a caller wait for the file to become readable.
func (f *hostFile) OSFile() *os.File { return f.f }

func (d *hostDir) ReadAt([]byte, uint64) (int, error)         { return 0, EISDIR }
func (d *hostDir) WriteAt([]byte, uint64) (int, error)        { return 0, EBADF }
func (d *hostDir) Append([]byte) (n int, e uint64, err error) { return 0, 0, EBADF }
func (d *hostDir) SetSize(uint64) error                       { return EBADF }
func (d *hostDir) Allocate(uint64, uint64) error              { return EBADF }

func (d *hostDir) Close() error { return errors.Join(d.f.Close(), d.root.Close()) }

func (d *hostDir) SetTimes(t Times) error { return d.SetTimesPath(".", true, t) }

func (d *hostDir) ReadDir() ([]DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	list := make([]DirEntry, 0, len(names))
	for _, n := range names {
		if !utf8.ValidString(n) {
			continue
		}
		st, err := d.stat(n, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, DirEntry{Name: n, Ino: st.Ino, Type: st.Type})
	}
	slices.SortFunc(list, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// stat describes a clean path.
func (d *hostDir) stat(path string, follow bool) (Stat, error) {
	get := d.root.Lstat
	if follow {
		get = d.root.Stat
	}
	fi, err := get(path)
	if err != nil {
		return Stat{}, err
	}
	return statPathOf(d.root, path, follow, fi)
}

func (d *hostDir) Open(path string, flags OpenFlags) (File, error) {
	n, err := parse(path)
	if err != nil {
		return nil, err
	}
	if n.slash {
		if flags&OpenCreate != 0 {
			return nil, EISDIR
		}
		flags |= OpenDirectory | OpenFollow
	}
	if flags&OpenDirectory != 0 && flags&OpenCreate != 0 {
		return nil, EINVAL
	}
	if flags&OpenFollow == 0 && !n.dot {
		fi, err := d.root.Lstat(n.path)
		switch {
		case err != nil && (flags&OpenCreate == 0 || !errors.Is(err, fs.ErrNotExist)):
			return nil, err
		case err != nil || fi.Mode()&fs.ModeSymlink == 0:
		case flags&OpenCreate != 0 && flags&OpenExclusive != 0:
			return nil, EEXIST
		case flags&OpenDirectory != 0:
			return nil, ENOTDIR
		default:
			return nil, ELOOP
		}
	}
	return d.open(n.path, flags)
}

func (d *hostDir) open(path string, flags OpenFlags) (File, error) {
	f, err := d.root.OpenFile(path, osFlags(flags), 0o666)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	typ := typeOf(fi.Mode())
	if typ != TypeDirectory {
		if flags&OpenDirectory != 0 {
			return nil, errors.Join(ENOTDIR, f.Close())
		}
		return &hostFile{f: f, typ: typ}, nil
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if flags&(OpenWrite|OpenTruncate|OpenCreate) != 0 {
		return nil, EISDIR
	}
	return openHostDir(d.tree, d.root, path)
}

func osFlags(flags OpenFlags) int {
	var o int
	// Truncating needs a descriptor that can write, even if nothing else will be written.
	write := flags&(OpenWrite|OpenTruncate) != 0
	switch {
	case flags&OpenRead != 0 && write:
		o = os.O_RDWR
	case write:
		o = os.O_WRONLY
	default:
		o = os.O_RDONLY
	}
	for _, m := range []struct {
		flag OpenFlags
		os   int
	}{{OpenCreate, os.O_CREATE}, {OpenExclusive, os.O_EXCL}, {OpenTruncate, os.O_TRUNC}, {OpenDirectory, osDirectory}} {
		if flags&m.flag != 0 {
			o |= m.os
		}
	}
	if flags&OpenCreate == 0 {
		o &^= os.O_EXCL
	}
	return o
}
