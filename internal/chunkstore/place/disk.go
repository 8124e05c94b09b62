package place

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Disk is what a folder needs of a file system, so that tests can put one in its place that forgets what was not synced.
type Disk interface {
	Mkdir(dir string) error // what is there already is no error
	Create(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(path string) error
	SyncDir(dir string) error // makes the names in a folder durable
	// read returns a regular file of at most most bytes, in buf's memory if it suffices.
	Read(path string, most int, buf []byte) ([]byte, error)
	Lstat(path string) (fs.FileInfo, error)
	List(dir string) ([]fs.DirEntry, error)
	Touch(path string) error
}

// File is a file that is being written.
type File interface {
	Write(b []byte) (int, error)
	Begin() // begins to bring what was written to the disk, so that Sync of many files has less to wait for
	Sync() error
	Close() error
}

// ErrIrregular is what reading something else than a file of fitting size returns.
var ErrIrregular = errors.New("no regular file of fitting size")

// osDisk is the system's file system.
type osDisk struct{}

func (osDisk) Mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, e := os.Stat(dir); e != nil || !info.IsDir() {
		return err
	}
	return nil
}

func (osDisk) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// osFile is a file of the system.
type osFile struct{ *os.File }

func (f osFile) Begin() { writeBack(f.File) }

func (osDisk) Rename(from, to string) error           { return os.Rename(from, to) }
func (osDisk) Remove(path string) error               { return os.Remove(path) }
func (osDisk) RemoveAll(path string) error            { return os.RemoveAll(path) }
func (osDisk) Lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
func (osDisk) List(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

func (osDisk) Touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

func (osDisk) SyncDir(dir string) error {
	if runtime.GOOS == "windows" { // cannot; NTFS has a journal of its own
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

func (osDisk) Read(path string, most int, buf []byte) ([]byte, error) {
	return readFile(path, most, buf)
}

// noRoom tells whether an error says that a disk or what a user may have of it is full.
func noRoom(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	const diskFull, handleDiskFull = syscall.Errno(112), syscall.Errno(39)
	return runtime.GOOS == "windows" && (errors.Is(err, diskFull) || errors.Is(err, handleDiskFull))
}
