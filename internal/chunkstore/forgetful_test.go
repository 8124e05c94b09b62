package chunkstore

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
)

var errPower = errors.New("the power is off")

// forgetful is a disk in memory that knows what would outlast a loss of power: contents that were synced, and names of
// folders that were. At a step of one's choice it fails, and from then on.
type forgetful struct {
	mu    sync.Mutex
	root  *memDir // guarded by mu
	steps int     // guarded by mu: changes so far
	at    int     // fails at this step; negative: never
	room  int     // guarded by mu: bytes left; negative: any number
}

type memDir struct {
	names   map[string]any // *memDir or *memFile
	durable map[string]any
	changes []change // since the names were synced
}

type change struct {
	name string
	what any // nil: gone
}

type memFile struct {
	data   []byte
	synced bool
	at     time.Time
}

func newMemDir() *memDir { return &memDir{names: map[string]any{}, durable: map[string]any{}} }

func newForgetful(at int) *forgetful { return &forgetful{root: newMemDir(), at: at, room: -1} }

// step counts a change. Preconditions: d.mu is held.
func (d *forgetful) step() error {
	d.steps++
	if d.at >= 0 && d.steps > d.at {
		return errPower
	}
	return nil
}

// after is the disk that is found when the power is back. What was not synced may have been written or not, and of
// contents any part. seed says what; 0: nothing was written.
func (d *forgetful) after(seed uint64) *forgetful {
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 1))
	files := map[*memFile]*memFile{}
	found := newForgetful(-1)
	found.root = d.root.after(rng, seed != 0, files)
	return found
}

func (m *memDir) after(rng *rand.Rand, some bool, files map[*memFile]*memFile) *memDir {
	names := maps.Clone(m.durable)
	for _, c := range m.changes {
		if !some || rng.IntN(2) == 0 {
			continue
		}
		if c.what == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.what
		}
	}
	found := newMemDir()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch x := names[name].(type) {
		case *memDir:
			found.durable[name] = x.after(rng, some, files)
		case *memFile:
			if files[x] == nil {
				files[x] = x.after(rng, some)
			}
			found.durable[name] = files[x]
		}
	}
	found.names = maps.Clone(found.durable)
	return found
}

func (f *memFile) after(rng *rand.Rand, some bool) *memFile {
	data := f.data
	if !f.synced {
		switch {
		case !some || len(data) == 0:
			data = nil
		case rng.IntN(2) == 0:
			data = data[:rng.IntN(len(data))]
		case rng.IntN(2) == 0:
			data = make([]byte, len(data))
		}
	}
	return &memFile{data: bytes.Clone(data), synced: true, at: f.at}
}

func (m *memDir) set(name string, what any) {
	if what == nil {
		delete(m.names, name)
	} else {
		m.names[name] = what
	}
	m.changes = append(m.changes, change{name, what})
}

// find returns the folder of a path and what it is there, or nil. Preconditions: d.mu is held.
func (d *forgetful) find(path string) (dir *memDir, name string, what any, err error) {
	dir = d.root
	parts := strings.Split(filepath.ToSlash(filepath.Clean(path)), "/")
	for _, p := range parts[:len(parts)-1] {
		sub, ok := dir.names[p].(*memDir)
		if !ok {
			return nil, "", nil, &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
		}
		dir = sub
	}
	name = parts[len(parts)-1]
	return dir, name, dir.names[name], nil
}

func (d *forgetful) dir(path string) (*memDir, error) {
	if filepath.Clean(path) == "." {
		return d.root, nil
	}
	_, _, what, err := d.find(path)
	if err != nil {
		return nil, err
	}
	dir, ok := what.(*memDir)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return dir, nil
}

func (d *forgetful) Mkdir(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, what, err := d.find(path)
	if err != nil {
		return err
	}
	if _, ok := what.(*memDir); ok {
		return nil
	}
	if err := d.step(); err != nil {
		return err
	}
	dir.set(name, newMemDir())
	return nil
}

func (d *forgetful) Create(path string) (place.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, what, err := d.find(path)
	if err != nil {
		return nil, err
	}
	if what != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err := d.step(); err != nil {
		return nil, err
	}
	f := &memFile{at: time.Now()}
	dir.set(name, f)
	return &memHandle{d, f}, nil
}

type memHandle struct {
	d *forgetful
	f *memFile
}

// Write writes half of it if the power goes.
func (h *memHandle) Write(b []byte) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.step()
	n := len(b)
	if err != nil {
		n /= 2
	}
	if h.d.room >= 0 && n > h.d.room {
		n, err = h.d.room, &fs.PathError{Op: "write", Path: "file", Err: syscall.ENOSPC}
	}
	if h.d.room >= 0 {
		h.d.room -= n
	}
	h.f.data, h.f.synced = append(h.f.data, b[:n]...), false
	return n, err
}

func (h *memHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.step(); err != nil {
		return err
	}
	h.f.synced = true
	return nil
}

func (h *memHandle) Begin()       {}
func (h *memHandle) Close() error { return nil }

func (d *forgetful) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	src, a, what, err := d.find(from)
	if err != nil {
		return err
	}
	dst, b, there, err := d.find(to)
	if err != nil {
		return err
	}
	if _, isDir := there.(*memDir); isDir || what == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if err := d.step(); err != nil {
		return err
	}
	src.set(a, nil)
	dst.set(b, what)
	return nil
}

func (d *forgetful) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, what, err := d.find(path)
	if err != nil {
		return err
	}
	f, ok := what.(*memFile)
	if !ok {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	if err := d.step(); err != nil {
		return err
	}
	if d.room >= 0 {
		d.room += len(f.data)
	}
	dir.set(name, nil)
	return nil
}

func (d *forgetful) RemoveAll(path string) error { return d.Remove(path) }

func (d *forgetful) SyncDir(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.dir(path)
	if err != nil {
		return err
	}
	if err := d.step(); err != nil {
		return err
	}
	dir.durable, dir.changes = maps.Clone(dir.names), nil
	return nil
}

func (d *forgetful) Read(path string, most int, buf []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, what, err := d.find(path)
	if err != nil {
		return nil, err
	}
	f, ok := what.(*memFile)
	switch {
	case what == nil:
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	case !ok || len(f.data) > most:
		return nil, place.ErrIrregular
	}
	return append(buf[:0], f.data...), nil
}

func (d *forgetful) Lstat(path string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, name, what, err := d.find(path)
	if err != nil {
		return nil, err
	}
	if what == nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return infoOf(name, what), nil
}

func (d *forgetful) List(path string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.dir(path)
	if err != nil {
		return nil, err
	}
	var list []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(dir.names)) {
		list = append(list, fs.FileInfoToDirEntry(infoOf(name, dir.names[name])))
	}
	return list, nil
}

func (d *forgetful) Touch(string) error { return nil }

type memInfo struct {
	name string
	size int64
	mode fs.FileMode
	at   time.Time
}

func infoOf(name string, what any) memInfo {
	if f, ok := what.(*memFile); ok {
		return memInfo{name, int64(len(f.data)), 0o600, f.at}
	}
	return memInfo{name: name, mode: fs.ModeDir | 0o700, at: time.Now()}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.at }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
