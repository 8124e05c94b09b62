// Package vfs is the file system that a process sees: trees of files behind one small interface, with a host
// directory (through os.Root) and an in-memory tree as implementations. The suite in vfstest holds for each.
//
// Paths are slash-separated UTF-8, relative to an open directory, and never resolve outside it: "..", absolute
// paths and symbolic links that lead out give EPERM. Methods return errors that ErrnoOf maps to WASI's numbers,
// chosen as on Linux where systems differ. Handles are not safe for concurrent use; trees are.
package vfs

// FileType is WASI's file type.
type FileType uint8

// The file types, with WASI's values.
const (
	TypeUnknown FileType = iota
	TypeBlockDevice
	TypeCharDevice
	TypeDirectory
	TypeRegular
	TypeSocketDgram
	TypeSocketStream
	TypeSymlink
	NumFileTypes
)

// Stat describes a file. Times are nanoseconds since 1970, zero before that. (Dev, Ino) is equal for two names
// of one file and for no two files that exist at one time.
type Stat struct {
	Dev, Ino            uint64
	Type                FileType
	Nlink, Size         uint64
	Atime, Mtime, Ctime uint64
}

// Times are access and modification time to set; nil leaves one as it is.
type Times struct{ Atime, Mtime *uint64 }

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Ino  uint64
	Type FileType
}

// OpenFlags say how Dir.Open opens.
type OpenFlags uint32

// The open flags. Without Read and Write a file is opened for its attributes only.
const (
	OpenRead OpenFlags = 1 << iota
	OpenWrite
	OpenCreate    // make a regular file if there is none
	OpenExclusive // with OpenCreate: fail with EEXIST if the name exists, even as a symbolic link
	OpenTruncate  // cut to length 0
	OpenDirectory // fail with ENOTDIR unless it is a directory
	OpenFollow    // follow a symbolic link in the last component; without it that gives ELOOP
)

// FS is a tree of files.
type FS interface {
	// Root opens the top directory.
	Root() (Dir, error)
}

// File is an open file of any type. Reads and writes are positional, except those of a Stream.
type File interface {
	Type() FileType
	Stat() (Stat, error)
	SetTimes(t Times) error
	// Sync makes content (and, unless dataOnly, attributes) durable.
	Sync(dataOnly bool) error
	// ReadAt fills p; fewer bytes without an error mean the end of the file.
	ReadAt(p []byte, off uint64) (int, error)
	// WriteAt writes p, extending the file if needed. n counts what was written before an error.
	WriteAt(p []byte, off uint64) (n int, err error)
	// Append writes p at the end, whatever others append meanwhile, and returns the end of what it wrote.
	Append(p []byte) (n int, end uint64, err error)
	SetSize(size uint64) error
	// Allocate ensures that the file reaches to off+n at least.
	Allocate(off, n uint64) error
	Close() error
}

// Stream is what a File that is neither regular nor a directory implements too if it can be read and written
// (devices, named pipes).
type Stream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
}

// Dir is an open directory. Path operations start from it.
type Dir interface {
	File
	// ReadDir lists the directory as it is now, sorted by name, without "." and "..".
	ReadDir() ([]DirEntry, error)
	// Open opens what path names; a directory comes back as a Dir.
	Open(path string, flags OpenFlags) (File, error)
	StatPath(path string, follow bool) (Stat, error)
	SetTimesPath(path string, follow bool, t Times) error
	Mkdir(path string) error
	Rmdir(path string) error
	Unlink(path string) error
	// Rename, Link: to is a directory of the same tree (else EXDEV).
	Rename(path string, to Dir, newPath string) error
	Link(path string, to Dir, newPath string) error
	Symlink(target, path string) error
	Readlink(path string) (string, error)
}
