package local

import (
	"os"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// doFile carries out a request for an open file or directory.
func (l *System) doFile(h *handle, req *wasi.Request, resp *wasi.Response) (err error) {
	var n int
	switch req.Op {
	case wasi.OpReadAt:
		if err := h.need(wasi.RightRead, false); err != nil {
			return err
		}
		n, err = h.file.ReadAt(req.Buf, req.Offset)
		resp.N = uint64(n)
		return err
	case wasi.OpWriteAt:
		if err := h.need(wasi.RightWrite, true); err != nil {
			return err
		}
		n, err = h.file.WriteAt(req.Data, req.Offset)
		resp.N = uint64(n)
		return h.syncIf(err, req.Flags)
	case wasi.OpAppend:
		if err := h.need(wasi.RightWrite, true); err != nil {
			return err
		}
		n, resp.Value, err = h.file.Append(req.Data)
		resp.N = uint64(n)
		return h.syncIf(err, req.Flags)
	case wasi.OpStat:
		if err := h.need(wasi.RightStat, false); err != nil {
			return err
		}
		st, err := h.file.Stat()
		st.Dev, st.Ino = h.stat.Dev, h.stat.Ino
		resp.Stat = st
		return err
	case wasi.OpSetTimes:
		if err := h.need(wasi.RightSetTimes, true); err != nil {
			return err
		}
		return h.file.SetTimes(l.times(req))
	case wasi.OpSetSize:
		if err := h.need(wasi.RightSetSize, true); err != nil {
			return err
		}
		return h.file.SetSize(req.Size)
	case wasi.OpAllocate:
		if err := h.need(wasi.RightAllocate, true); err != nil {
			return err
		}
		return h.file.Allocate(req.Offset, req.Size)
	case wasi.OpSync:
		if req.Flags&wasi.FlagDataOnly == 0 || h.dir != nil {
			err = h.need(wasi.RightSync, false)
		}
		if err != nil {
			return err
		}
		return h.file.Sync(req.Flags&wasi.FlagDataOnly != 0)
	case wasi.OpReadDir:
		return l.readDir(h, req, resp)
	case wasi.OpSeek, wasi.OpRead, wasi.OpWrite, wasi.OpOutput:
		return vfs.ESPIPE
	}
	return vfs.EINVAL
}

func (h *handle) syncIf(err error, flags uint64) error {
	if err != nil || flags&wasi.FlagSync == 0 {
		return err
	}
	return h.file.Sync(flags&wasi.FlagDataOnly != 0)
}

// times are those that a request sets; "now" is the device's.
func (l *System) times(req *wasi.Request) (t vfs.Times) {
	now := func() *uint64 {
		v := uint64(0)
		if l.now != nil {
			v = l.now()
		} else {
			v = l.clocks.Now(wasi.Realtime, req)
		}
		return &v
	}
	switch {
	case req.Flags&wasi.FlagAtimeNow != 0:
		t.Atime = now()
	case req.Flags&wasi.FlagAtime != 0:
		t.Atime = &req.Atime
	}
	switch {
	case req.Flags&wasi.FlagMtimeNow != 0:
		t.Mtime = now()
	case req.Flags&wasi.FlagMtime != 0:
		t.Mtime = &req.Mtime
	}
	return t
}

// readDir lists a directory from entry number Offset on, until what the guest has room for is full. The listing
// is the one made when the guest last began at 0, so that it stays whole while the directory changes.
func (l *System) readDir(h *handle, req *wasi.Request, resp *wasi.Response) error {
	if h.dir == nil {
		return vfs.ENOTDIR
	}
	if err := h.need(wasi.RightReadDir, false); err != nil {
		return err
	}
	if req.Offset == 0 || h.listing == nil {
		if err := l.list(h); err != nil {
			return err
		}
	}
	if req.Offset >= uint64(len(h.listing)) {
		return nil
	}
	var room uint64
	for _, e := range h.listing[req.Offset:] {
		if room >= min(req.Size, wasi.MaxList) {
			break
		}
		room += wasi.DirentSize + uint64(len(e.Name))
		resp.Data = wasi.AppendDirent(resp.Data, e)
	}
	return nil
}

func (l *System) list(h *handle) error {
	entries, err := h.dir.ReadDir()
	if err != nil {
		return err
	}
	st, err := h.file.Stat()
	if err != nil {
		return err
	}
	// The parent's number is not known here, and may be none of the guest's business.
	h.listing = make([]wasi.Dirent, 0, len(entries)+2)
	for _, dot := range []string{".", ".."} {
		h.listing = append(h.listing, wasi.Dirent{Name: dot, Ino: h.stat.Ino, Type: vfs.TypeDirectory})
	}
	for _, e := range entries {
		h.listing = append(h.listing, l.mounts[h.mount].inodes.dirent(st.Dev, e))
	}
	return nil
}

// dir is an open directory that may be used in a way.
func (l *System) dir(n uint64, rights wasi.Rights, write bool) (*handle, error) {
	h, ok := l.handles[n]
	if !ok {
		return nil, vfs.EBADF
	}
	if h.dir == nil {
		return nil, vfs.ENOTDIR
	}
	return h, h.need(rights, write)
}

// doPath carries out a request that names a path.
func (l *System) doPath(req *wasi.Request, resp *wasi.Response) error {
	follow := req.Flags&wasi.FlagFollow != 0
	switch req.Op {
	case wasi.OpOpen:
		return l.open(req, resp)
	case wasi.OpStatPath:
		h, err := l.dir(req.Handle, wasi.RightPathStat, false)
		if err != nil {
			return err
		}
		st, err := h.dir.StatPath(req.Path, follow)
		if err == nil {
			resp.Stat = l.mounts[h.mount].inodes.virtual(st)
		}
		return err
	case wasi.OpSetTimesPath:
		h, err := l.dir(req.Handle, wasi.RightPathSetTimes, true)
		if err != nil {
			return err
		}
		return h.dir.SetTimesPath(req.Path, follow, l.times(req))
	case wasi.OpMkdir:
		h, err := l.dir(req.Handle, wasi.RightCreateDirectory, true)
		if err != nil {
			return err
		}
		return h.dir.Mkdir(req.Path)
	case wasi.OpRmdir:
		h, err := l.dir(req.Handle, wasi.RightRemoveDirectory, true)
		if err != nil {
			return err
		}
		return l.remove(h, req.Path, h.dir.Rmdir)
	case wasi.OpUnlink:
		h, err := l.dir(req.Handle, wasi.RightUnlink, true)
		if err != nil {
			return err
		}
		return l.remove(h, req.Path, h.dir.Unlink)
	case wasi.OpRename, wasi.OpLink:
		return l.move(req)
	case wasi.OpSymlink:
		h, err := l.dir(req.Handle2, wasi.RightSymlink, true)
		if err != nil {
			return err
		}
		return h.dir.Symlink(req.Path, req.Path2)
	default: // OpReadlink
		h, err := l.dir(req.Handle, wasi.RightReadlink, false)
		if err != nil {
			return err
		}
		t, err := h.dir.Readlink(req.Path)
		resp.Data = []byte(t)
		return err
	}
}

// remove takes a name away, and the file's number if that was its last name.
func (l *System) remove(h *handle, path string, do func(string) error) error {
	st, statErr := h.dir.StatPath(path, false)
	err := do(path)
	if err == nil && statErr == nil {
		l.gone(h.mount, st)
	}
	return err
}

func (l *System) gone(mount int, st wasi.Stat) {
	if st.Type == vfs.TypeDirectory || st.Nlink <= 1 {
		l.mounts[mount].inodes.forget(st.Dev, st.Ino)
	}
}

func (l *System) move(req *wasi.Request) error {
	from, to := wasi.RightLinkSource, wasi.RightLinkTarget
	if req.Op == wasi.OpRename {
		from, to = wasi.RightRenameSource, wasi.RightRenameTarget
	}
	h, err := l.dir(req.Handle, from, req.Op == wasi.OpRename)
	if err != nil {
		return err
	}
	nh, err := l.dir(req.Handle2, to, true)
	if err != nil {
		return err
	}
	if h.readOnly {
		return vfs.EROFS // a link would make the file writable
	}
	if req.Op == wasi.OpLink {
		return h.dir.Link(req.Path, nh.dir, req.Path2)
	}
	old, oldErr := h.dir.StatPath(req.Path, false)
	replaced, newErr := nh.dir.StatPath(req.Path2, false)
	err = h.dir.Rename(req.Path, nh.dir, req.Path2)
	if err == nil && oldErr == nil && newErr == nil && (old.Dev != replaced.Dev || old.Ino != replaced.Ino) {
		l.gone(nh.mount, replaced)
	}
	return err
}

// open opens a path below a directory and issues a handle.
func (l *System) open(req *wasi.Request, resp *wasi.Response) error {
	need, write := wasi.RightOpen, false
	flags := vfs.OpenFlags(0)
	for _, m := range []struct {
		flag  uint64
		open  vfs.OpenFlags
		right wasi.Rights
		write bool
	}{
		{wasi.FlagFollow, vfs.OpenFollow, 0, false},
		{wasi.FlagDirectory, vfs.OpenDirectory, 0, false},
		{wasi.FlagExclusive, vfs.OpenExclusive, 0, false},
		{wasi.FlagCreate, vfs.OpenCreate, wasi.RightCreateFile, false},
		{wasi.FlagTruncate, vfs.OpenTruncate, wasi.RightPathSetSize, true},
	} {
		if req.Flags&m.flag != 0 {
			flags |= m.open
			need |= m.right
			write = write || m.write
		}
	}
	if req.Rights&wasi.RightRead != 0 {
		flags |= vfs.OpenRead
	}
	if req.Rights&wasi.RightWrite != 0 {
		flags |= vfs.OpenWrite
		write = true
	}
	h, err := l.dir(req.Handle, need, write)
	if err != nil {
		return err
	}
	if len(l.handles) >= MaxHandles {
		return vfs.EMFILE
	}
	if h.readOnly && flags&vfs.OpenCreate != 0 {
		// What exists may be opened; nothing can be made.
		if _, err := h.dir.StatPath(req.Path, flags&vfs.OpenFollow != 0); vfs.ErrnoOf(err) == vfs.ENOENT {
			return vfs.EROFS
		}
		if flags&vfs.OpenExclusive == 0 {
			flags &^= vfs.OpenCreate
		}
	}
	f, err := h.dir.Open(req.Path, flags)
	if err != nil {
		return err
	}
	return l.opened(h, f, req, resp)
}

func (l *System) opened(parent *handle, f vfs.File, req *wasi.Request, resp *wasi.Response) error {
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	n := &handle{file: f, readOnly: parent.readOnly, mount: parent.mount, real: st}
	st = l.mounts[parent.mount].inodes.virtual(st)
	n.stat = st
	pass := parent.issued.Inheriting
	fd := wasi.FD{Type: f.Type(), Base: wasi.FileRights & pass}
	if req.Rights&wasi.RightRead == 0 {
		fd.Base &^= wasi.RightRead
	}
	if req.Rights&wasi.RightWrite == 0 {
		fd.Base &^= wasi.WriteRights
	}
	switch d, isDir := f.(vfs.Dir); {
	case isDir:
		n.dir = d
		fd.Kind, fd.Base, fd.Inheriting = wasi.KindDir, wasi.DirRights&pass, pass
	case fd.Type != vfs.TypeRegular:
		n.stream = fileStream(f)
		n.stream.virtual = l.clocks.Virtual()
		fd.Kind = wasi.KindStream
		fd.Base &^= wasi.RightSeek | wasi.RightTell
	}
	n.issued = fd
	resp.Handle = l.issue(n)
	resp.Rights, resp.Inheriting, resp.Stat = fd.Base, fd.Inheriting, st
	return nil
}

// fileStream makes a stream of an open device or pipe.
func fileStream(f vfs.File) *stream {
	s, ok := f.(vfs.Stream)
	if !ok {
		return newStream(nil, nil)
	}
	st := &stream{r: s, w: s}
	if o, ok := f.(interface{ OSFile() *os.File }); ok {
		st.file = o.OSFile()
	}
	return st
}
