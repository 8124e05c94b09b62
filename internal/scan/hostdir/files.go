package hostdir

import (
	"errors"
	"os"
	"sync"
)

// MaxOpen is how many files stay open to be read from.
const MaxOpen = 64

// FileKey names a file as it was: with its time of change, so that one that was replaced is opened again.
type FileKey struct{ Ino, Ctime uint64 }

// Files keeps the files open that were read last. The zero value is usable.
type Files struct {
	mu     sync.Mutex
	files  map[FileKey]*openFile // guarded by mu
	clock  uint64                // guarded by mu: counts uses
	closed bool                  // guarded by mu
}

type openFile struct {
	f     *os.File
	users int    // guarded by Files.mu
	used  uint64 // guarded by Files.mu
	drop  bool   // guarded by Files.mu: to be closed by its last user
}

// Read reads size bytes at off of a file, which open opens if it is not open.
func (o *Files) Read(key FileKey, off, size uint64, open func() (*os.File, error)) ([]byte, error) {
	x, err := o.take(key, open)
	if err != nil {
		return nil, err
	}
	defer o.give(x)
	b := make([]byte, size)
	if _, err := x.f.ReadAt(b, int64(off)); err != nil {
		return nil, err
	}
	return b, nil
}

func (o *Files) take(key FileKey, open func() (*os.File, error)) (*openFile, error) {
	if x, err := o.find(key); x != nil || err != nil {
		return x, err
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errors.Join(os.ErrClosed, f.Close())
	}
	if x := o.files[key]; x != nil { // another was faster
		x.users++
		_ = f.Close() // nothing was written
		return x, nil
	}
	if o.files == nil {
		o.files = map[FileKey]*openFile{}
	}
	if len(o.files) >= MaxOpen {
		o.evict()
	}
	o.clock++
	x := &openFile{f: f, users: 1, used: o.clock}
	o.files[key] = x
	return x, nil
}

func (o *Files) find(key FileKey) (*openFile, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, os.ErrClosed
	}
	x := o.files[key]
	if x != nil {
		o.clock++
		x.users++
		x.used = o.clock
	}
	return x, nil
}

// evict drops the file whose use is longest ago. o.mu is held.
func (o *Files) evict() {
	var oldest FileKey
	var least *openFile
	for k, x := range o.files {
		if least == nil || x.used < least.used {
			oldest, least = k, x
		}
	}
	delete(o.files, oldest)
	least.drop = true
	least.end()
}

// end closes a file that is to be dropped and that nobody reads.
func (x *openFile) end() {
	if x.drop && x.users == 0 {
		_ = x.f.Close() // nothing was written
	}
}

func (o *Files) give(x *openFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x.users--
	x.end()
}

// Close closes those that nobody reads, and the others when they have been read. Read fails then.
func (o *Files) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, x := range o.files {
		x.drop = true
		x.end()
	}
	o.files = nil
}
