package disk

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// NewShadow returns a shadow of a directory, and an empty directory on the same file system, in which put makes names.
func NewShadow(top Folder) (shadowTop, empty Folder, put func(name string, kind tree.Kind) (num uint64), err error) {
	st, err := top.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	s := &shadows{top: top, dev: st.Dev, next: 1 << 63}
	e := &shadow{s, s.fresh(tree.KindDir)}
	put = func(name string, kind tree.Kind) uint64 {
		n := s.fresh(kind)
		e.n.names[name] = n
		return n.st.Ino
	}
	return &shadow{s, &shade{st: st, real: true, names: map[string]*shade{}}}, e, put, nil
}

// shadows is a file system that shows a directory as it would be after changes that nobody makes.
type shadows struct {
	top  Folder
	dev  uint64
	next uint64
}

// shade is what stands at a name. What is real was found at path.
type shade struct {
	st    Stat
	real  bool
	path  string
	names map[string]*shade // of those that were asked for or changed; nil: gone
}

func (s *shadows) fresh(kind tree.Kind) *shade {
	s.next++
	return &shade{st: Stat{Kind: kind, Dev: s.dev, Ino: s.next, Nlink: 1}, names: map[string]*shade{}}
}

// shadow is a directory of it.
type shadow struct {
	s *shadows
	n *shade
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func (d *shadow) get(name string) (*shade, error) {
	if name == "." {
		return d.n, nil
	}
	n, known := d.n.names[name]
	if !known && d.n.real {
		path := Join(d.n.path, name)
		st, err := LstatPath(d.s.top, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			n = &shade{st: st, real: true, path: path, names: map[string]*shade{}}
			d.n.names[name] = n
		}
	}
	if n == nil {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	return n, nil
}

func (d *shadow) free(name string) error {
	if _, err := d.get(name); err == nil {
		return pathError("make", name, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *shadow) Stat() (Stat, error) { return d.n.st, nil }

func (d *shadow) Lstat(name string) (Stat, error) {
	n, err := d.get(name)
	if err != nil {
		return Stat{}, err
	}
	return n.st, nil
}

func (d *shadow) Names() ([]string, error) {
	all := map[string]bool{}
	if d.n.real {
		real, err := Walk(d.s.top, d.n.path)
		if err != nil {
			return nil, err
		}
		defer real.Close()
		list, err := real.Names()
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			all[name] = true
		}
	}
	for name, n := range d.n.names {
		if all[name] = true; n == nil {
			delete(all, name)
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

func (d *shadow) Enter(name string) (Folder, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	if n.st.Kind != tree.KindDir {
		return nil, pathError("open", name, syscall.ENOTDIR)
	}
	if n.real && name != "." {
		real, err := Walk(d.s.top, n.path)
		if err != nil {
			return nil, err
		}
		_ = real.Close() // that it can be entered is all
	}
	return &shadow{d.s, n}, nil
}

func (d *shadow) Open(name string, write bool) (File, error) {
	n, err := d.get(name)
	if err != nil {
		return nil, err
	}
	f := &shadowFile{st: n.st}
	if !n.real {
		return f, nil
	}
	err = In(d.s.top, n.path, func(dir Folder, name string) (err error) {
		f.File, err = dir.Open(name, write)
		return err
	})
	return f, err
}

func (d *shadow) put(name string, n *shade) error {
	if err := d.free(name); err != nil {
		return err
	}
	d.n.names[name] = n
	return nil
}

func (d *shadow) Create(name string) (File, error) {
	n := d.s.fresh(tree.KindFile)
	return &shadowFile{st: n.st}, d.put(name, n)
}

func (d *shadow) Mkdir(name string, _ uint32) error { return d.put(name, d.s.fresh(tree.KindDir)) }

func (d *shadow) Symlink(_, name string) error { return d.put(name, d.s.fresh(tree.KindSymlink)) }

func (d *shadow) Link(name string, to Folder, as string) error {
	n, err := d.get(name)
	if err != nil {
		return err
	}
	return to.(*shadow).put(as, n)
}

func (d *shadow) Move(name string, to Folder, as string) error {
	if err := d.Link(name, to, as); err != nil {
		return err
	}
	d.n.names[name] = nil
	return nil
}

func (d *shadow) Remove(name string, isDir bool) error {
	n, err := d.get(name)
	if err != nil {
		return err
	}
	if isDir {
		list, err := (&shadow{d.s, n}).Names()
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return pathError("remove", name, syscall.ENOTEMPTY)
		}
	}
	d.n.names[name] = nil
	return nil
}

func (d *shadow) SetTimes(name string, _, _ uint64) error {
	_, err := d.get(name)
	return err
}

func (d *shadow) Sync() error { return nil }

func (d *shadow) SyncAll() error { return nil }

func (d *shadow) Handle() (*os.File, error) { return nil, errors.ErrUnsupported }

func (d *shadow) Close() error { return nil }

// shadowFile is a file of it: what is written is forgotten.
type shadowFile struct {
	File // nil: there is none
	st   Stat
}

func (f *shadowFile) Stat() (Stat, error) { return f.st, nil }

func (f *shadowFile) ReadAt(p []byte, off int64) (int, error) {
	if f.File == nil {
		return len(p), nil
	}
	return f.File.ReadAt(p, off)
}

func (f *shadowFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (f *shadowFile) Truncate(uint64) error                  { return nil }
func (f *shadowFile) Chmod(uint32) error                     { return nil }
func (f *shadowFile) Punch(uint64, uint64) error             { return nil }
func (f *shadowFile) Sync() error                            { return nil }

func (f *shadowFile) Close() error {
	if f.File == nil {
		return nil
	}
	return f.File.Close()
}
