package origin

import (
	"cmp"
	"errors"
	"slices"

	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// judge takes what came back for what it can be.
func (t *Trip) judge(b *replica.Back) error {
	seen := map[uint32]bool{}
	handles := map[uint64]bool{}
	for i := range b.Mounts {
		m := &b.Mounts[i]
		at := t.at(m.Index)
		switch {
		case at < 0 || seen[m.Index]:
			return distrust("mount %d", m.Index)
		case m.Delta != nil && t.mounts[at].ReadOnly:
			return distrust("changes in %q, which is read-only", t.mounts[at].Guest)
		case m.Last < t.start.Mounts[at].Last:
			return distrust("inode numbers run backwards")
		}
		seen[m.Index] = true
		if err := judgeNumbers(m, t.start.Mounts[at].Last); err != nil {
			return err
		}
		var d *tree.Delta
		if m.Delta != nil {
			var err error
			if d, err = tree.DecodeDelta(m.Delta); err == nil {
				err = d.Validate()
			}
			if err != nil {
				return distrust("changes in %q: %w", t.mounts[at].Guest, err)
			}
		}
		t.deltas = append(t.deltas, d)
		for _, o := range m.Open {
			if err := t.judgeOpen(at, d, &o); err != nil {
				return err
			}
			if handles[o.Issued.Handle] {
				return distrust("handle %d twice", o.Issued.Handle)
			}
			handles[o.Issued.Handle] = true
		}
	}
	t.back = b
	return nil
}

// judgeNumbers refuses inode numbers that no clone gives: each new one is one more than the last.
func judgeNumbers(m *replica.BackMount, last uint64) error {
	if m.Last-last > uint64(len(m.Numbers)) {
		return distrust("inode numbers run from %d to %d for %d files", last, m.Last, len(m.Numbers))
	}
	for _, n := range m.Numbers {
		if n.Virtual != 0 && (n.Virtual <= last || n.Virtual > m.Last) {
			return distrust("inode number %d is not between %d and %d", n.Virtual, last, m.Last)
		}
	}
	return nil
}

func (t *Trip) judgeOpen(at int, d *tree.Delta, o *replica.Open) error {
	fd := &o.Issued
	if fd.Handle <= t.start.Handles {
		if !t.Owns(fd.Handle) || o.Listing == nil {
			return distrust("handle %d was opened before", fd.Handle)
		}
		return nil
	}
	rights := wasi.FileRights
	if fd.Kind == wasi.KindDir {
		rights = wasi.DirRights
	}
	switch {
	case fd.Handle > t.start.Handles+MaxIssued, fd.Preopen != "", fd.Base&^rights != 0, fd.Inheriting&^(wasi.DirRights|wasi.FileRights) != 0,
		fd.Kind == wasi.KindFile && (fd.Type != vfs.TypeRegular || fd.Inheriting != 0), fd.Kind == wasi.KindDir && fd.Type != vfs.TypeDirectory:
		return distrust("handle %d is no such thing", fd.Handle)
	case t.mounts[at].ReadOnly && fd.Kind == wasi.KindFile && fd.Base&wasi.RightWrite != 0:
		return distrust("handle %d may write in %q, which is read-only", fd.Handle, t.mounts[at].Guest)
	}
	kind, err := t.kindOf(at, d, o.Ino)
	switch {
	case err != nil:
		return distrust("handle %d of a file %w", fd.Handle, err)
	case fd.Kind == wasi.KindFile && kind != tree.KindFile, fd.Kind == wasi.KindDir && kind != tree.KindDir:
		return distrust("handle %d is of a file of another kind", fd.Handle)
	}
	return nil
}

// kindOf is the kind of a file of the version, or of one that a delta makes.
func (t *Trip) kindOf(at int, d *tree.Delta, ino uint64) (tree.Kind, error) {
	if ino >= tree.FirstNew {
		if d != nil {
			i, ok := slices.BinarySearchFunc(d.Files, ino, func(f tree.FileChange, ino uint64) int { return cmp.Compare(f.Ino, ino) })
			if ok {
				return d.Files[i].Kind, nil
			}
		}
		return 0, errors.New("that nobody made")
	}
	v := t.versions[at]
	path, ok := v.Path(ino)
	if !ok {
		return 0, errors.New("that was not there")
	}
	if path == "" {
		return tree.KindDir, nil
	}
	e, ok := v.Lookup(path)
	if !ok {
		return 0, errors.New("that was not there")
	}
	return e.Kind, nil
}
