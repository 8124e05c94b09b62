package wasi

import (
	"encoding/binary"
	"math"
	"os"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

type listEntry struct {
	name string
	ino  uint64
	typ  FileType
}

// doFile carries out a request for an open file or directory.
func (l *Local) doFile(h *handle, req *Request, resp *Response) (err error) {
	var n int
	switch req.Op {
	case OpReadAt:
		if err := h.need(RightRead, false); err != nil {
			return err
		}
		n, err = h.file.ReadAt(req.Buf, req.Offset)
		resp.N = uint64(n)
		return err
	case OpWriteAt:
		if err := h.need(RightWrite, true); err != nil {
			return err
		}
		n, err = h.file.WriteAt(req.Data, req.Offset)
		resp.N = uint64(n)
		return h.syncIf(err, req.Flags)
	case OpAppend:
		if err := h.need(RightWrite, true); err != nil {
			return err
		}
		n, resp.Value, err = h.file.Append(req.Data)
		resp.N = uint64(n)
		return h.syncIf(err, req.Flags)
	case OpStat:
		if err := h.need(RightStat, false); err != nil {
			return err
		}
		st, err := h.file.Stat()
		st.Dev, st.Ino = h.stat.Dev, h.stat.Ino
		resp.Stat = st
		return err
	case OpSetTimes:
		if err := h.need(RightSetTimes, true); err != nil {
			return err
		}
		return h.file.SetTimes(l.times(req))
	case OpSetSize:
		if err := h.need(RightSetSize, true); err != nil {
			return err
		}
		return h.file.SetSize(req.Size)
	case OpAllocate:
		if err := h.need(RightAllocate, true); err != nil {
			return err
		}
		return h.file.Allocate(req.Offset, req.Size)
	case OpSync:
		if req.Flags&FlagDataOnly == 0 || h.dir != nil {
			err = h.need(RightSync, false)
		}
		if err != nil {
			return err
		}
		return h.file.Sync(req.Flags&FlagDataOnly != 0)
	case OpReadDir:
		return l.readDir(h, req, resp)
	case OpSeek, OpRead, OpWrite, OpOutput:
		return vfs.ESPIPE
	}
	return vfs.EINVAL
}

func (h *handle) syncIf(err error, flags uint64) error {
	if err != nil || flags&FlagSync == 0 {
		return err
	}
	return h.file.Sync(flags&FlagDataOnly != 0)
}

// times are those that a request sets; "now" is the device's.
func (l *Local) times(req *Request) (t vfs.Times) {
	now := func() *uint64 {
		v := l.clocks.now(Realtime, req)
		return &v
	}
	switch {
	case req.Flags&FlagAtimeNow != 0:
		t.Atime = now()
	case req.Flags&FlagAtime != 0:
		t.Atime = &req.Atime
	}
	switch {
	case req.Flags&FlagMtimeNow != 0:
		t.Mtime = now()
	case req.Flags&FlagMtime != 0:
		t.Mtime = &req.Mtime
	}
	return t
}

// readDir lists a directory from entry number Offset on, until what the guest has room for is full. The listing
// is the one made when the guest last began at 0, so that it stays whole while the directory changes.
func (l *Local) readDir(h *handle, req *Request, resp *Response) error {
	if h.dir == nil {
		return vfs.ENOTDIR
	}
	if err := h.need(RightReadDir, false); err != nil {
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
		if room >= min(req.Size, MaxIO/2) {
			break
		}
		room += direntSize + uint64(len(e.name))
		resp.Data = appendDirent(resp.Data, e)
	}
	return nil
}

func (l *Local) list(h *handle) error {
	entries, err := h.dir.ReadDir()
	if err != nil {
		return err
	}
	st, err := h.file.Stat()
	if err != nil {
		return err
	}
	// The parent's number is not known here, and may be none of the guest's business.
	h.listing = make([]listEntry, 0, len(entries)+2)
	for _, dot := range []string{".", ".."} {
		h.listing = append(h.listing, listEntry{dot, h.stat.Ino, vfs.TypeDirectory})
	}
	for _, e := range entries {
		h.listing = append(h.listing, listEntry{e.Name, l.inodes.ino(st.Dev, e.Ino), e.Type})
	}
	return nil
}

// appendDirent adds an entry: inode (8 bytes), type (1), length of the name (2), name.
func appendDirent(b []byte, e listEntry) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.ino)
	b = append(b, byte(e.typ))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(len(e.name), math.MaxUint16)))
	return append(b, e.name...)
}

// parseDirent takes the first entry off b.
func parseDirent(b []byte) (e listEntry, rest []byte, ok bool) {
	if len(b) < 11 {
		return e, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[9:]))
	if len(b) < 11+n {
		return e, nil, false
	}
	return listEntry{string(b[11 : 11+n]), binary.LittleEndian.Uint64(b), FileType(b[8])}, b[11+n:], true
}

// dir is an open directory that may be used in a way.
func (l *Local) dir(n uint64, rights Rights, write bool) (*handle, error) {
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
func (l *Local) doPath(req *Request, resp *Response) error {
	follow := req.Flags&FlagFollow != 0
	switch req.Op {
	case OpOpen:
		return l.open(req, resp)
	case OpStatPath:
		h, err := l.dir(req.Handle, RightPathStat, false)
		if err != nil {
			return err
		}
		st, err := h.dir.StatPath(req.Path, follow)
		if err == nil {
			resp.Stat = l.inodes.virtual(st)
		}
		return err
	case OpSetTimesPath:
		h, err := l.dir(req.Handle, RightPathSetTimes, true)
		if err != nil {
			return err
		}
		return h.dir.SetTimesPath(req.Path, follow, l.times(req))
	case OpMkdir:
		h, err := l.dir(req.Handle, RightCreateDirectory, true)
		if err != nil {
			return err
		}
		return h.dir.Mkdir(req.Path)
	case OpRmdir:
		h, err := l.dir(req.Handle, RightRemoveDirectory, true)
		if err != nil {
			return err
		}
		return l.remove(h, req.Path, h.dir.Rmdir)
	case OpUnlink:
		h, err := l.dir(req.Handle, RightUnlink, true)
		if err != nil {
			return err
		}
		return l.remove(h, req.Path, h.dir.Unlink)
	case OpRename, OpLink:
		return l.move(req)
	case OpSymlink:
		h, err := l.dir(req.Handle2, RightSymlink, true)
		if err != nil {
			return err
		}
		return h.dir.Symlink(req.Path, req.Path2)
	default: // OpReadlink
		h, err := l.dir(req.Handle, RightReadlink, false)
		if err != nil {
			return err
		}
		t, err := h.dir.Readlink(req.Path)
		resp.Data = []byte(t)
		return err
	}
}

// remove takes a name away, and the file's number if that was its last name.
func (l *Local) remove(h *handle, path string, do func(string) error) error {
	st, statErr := h.dir.StatPath(path, false)
	err := do(path)
	if err == nil && statErr == nil {
		l.gone(st)
	}
	return err
}

func (l *Local) gone(st Stat) {
	if st.Type == vfs.TypeDirectory || st.Nlink <= 1 {
		l.inodes.forget(st.Dev, st.Ino)
	}
}

func (l *Local) move(req *Request) error {
	from, to := RightLinkSource, RightLinkTarget
	if req.Op == OpRename {
		from, to = RightRenameSource, RightRenameTarget
	}
	h, err := l.dir(req.Handle, from, req.Op == OpRename)
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
	if req.Op == OpLink {
		return h.dir.Link(req.Path, nh.dir, req.Path2)
	}
	old, oldErr := h.dir.StatPath(req.Path, false)
	replaced, newErr := nh.dir.StatPath(req.Path2, false)
	err = h.dir.Rename(req.Path, nh.dir, req.Path2)
	if err == nil && oldErr == nil && newErr == nil && (old.Dev != replaced.Dev || old.Ino != replaced.Ino) {
		l.gone(replaced)
	}
	return err
}

// open opens a path below a directory and issues a handle.
func (l *Local) open(req *Request, resp *Response) error {
	need, write := RightOpen, false
	flags := vfs.OpenFlags(0)
	for _, m := range []struct {
		flag  uint64
		open  vfs.OpenFlags
		right Rights
		write bool
	}{
		{FlagFollow, vfs.OpenFollow, 0, false},
		{FlagDirectory, vfs.OpenDirectory, 0, false},
		{FlagExclusive, vfs.OpenExclusive, 0, false},
		{FlagCreate, vfs.OpenCreate, RightCreateFile, false},
		{FlagTruncate, vfs.OpenTruncate, RightPathSetSize, true},
	} {
		if req.Flags&m.flag != 0 {
			flags |= m.open
			need |= m.right
			write = write || m.write
		}
	}
	if req.Rights&RightRead != 0 {
		flags |= vfs.OpenRead
	}
	if req.Rights&RightWrite != 0 {
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

func (l *Local) opened(parent *handle, f vfs.File, req *Request, resp *Response) error {
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	st = l.inodes.virtual(st)
	n := &handle{file: f, readOnly: parent.readOnly, stat: st}
	pass := parent.issued.Inheriting
	fd := FD{Type: f.Type(), Base: fileRights & pass}
	if req.Rights&RightRead == 0 {
		fd.Base &^= RightRead
	}
	if req.Rights&RightWrite == 0 {
		fd.Base &^= writeRights
	}
	switch d, isDir := f.(vfs.Dir); {
	case isDir:
		n.dir = d
		fd.Kind, fd.Base, fd.Inheriting = KindDir, dirRights&pass, pass
	case fd.Type != vfs.TypeRegular:
		n.stream = fileStream(f)
		n.stream.virtual = l.clocks.virtual
		fd.Kind = KindStream
		fd.Base &^= RightSeek | RightTell
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
