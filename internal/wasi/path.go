package wasi

import "github.com/clonecloud/clonecloud/internal/vfs"

// Open flags and lookup flags of WASI.
const (
	oCreate = 1 << iota
	oDirectory
	oExclusive
	oTruncate

	oMask = oCreate | oDirectory | oExclusive | oTruncate

	lookupFollow = 1
)

// followFlag reads lookup flags from argument i.
func (c *call) followFlag(i int) uint64 {
	if c.u32(i)&lookupFollow != 0 {
		return FlagFollow
	}
	return 0
}

// dirPath reads what nearly every path function begins with: a directory and a path in it.
func (c *call) dirPath(fd, path int, need Rights) (*FD, string, Errno) {
	f, e := c.dir(fd, need)
	if e != vfs.Success {
		return nil, "", e
	}
	p, e := c.path(c.u32(path), c.u32(path+1))
	return f, p, e
}

// onPath makes a request that has no other fields.
func (c *call) onPath(op Op, need Rights) Errno {
	f, p, e := c.dirPath(0, 1, need)
	if e != vfs.Success {
		return e
	}
	return c.do(Request{Op: op, Handle: f.Handle, Path: p})
}

func (c *call) pathCreateDirectory() Errno { return c.onPath(OpMkdir, RightCreateDirectory) }
func (c *call) pathRemoveDirectory() Errno { return c.onPath(OpRmdir, RightRemoveDirectory) }
func (c *call) pathUnlinkFile() Errno      { return c.onPath(OpUnlink, RightUnlink) }

func (c *call) pathFilestatGet() Errno {
	f, p, e := c.dirPath(0, 2, RightPathStat)
	if e != vfs.Success {
		return e
	}
	return c.stat(4, Request{Op: OpStatPath, Handle: f.Handle, Path: p, Flags: c.followFlag(1)})
}

func (c *call) pathFilestatSetTimes() Errno {
	f, p, e := c.dirPath(0, 2, RightPathSetTimes)
	if e != vfs.Success {
		return e
	}
	return c.setTimes(4, Request{Op: OpSetTimesPath, Handle: f.Handle, Path: p, Flags: c.followFlag(1)})
}

func (c *call) pathRename() Errno {
	f, p, e := c.dirPath(0, 1, RightRenameSource)
	if e != vfs.Success {
		return e
	}
	nf, np, e := c.dirPath(3, 4, RightRenameTarget)
	if e != vfs.Success {
		return e
	}
	return c.do(Request{Op: OpRename, Handle: f.Handle, Path: p, Handle2: nf.Handle, Path2: np})
}

func (c *call) pathLink() Errno {
	f, p, e := c.dirPath(0, 2, RightLinkSource)
	if e != vfs.Success {
		return e
	}
	nf, np, e := c.dirPath(4, 5, RightLinkTarget)
	if e != vfs.Success {
		return e
	}
	if c.followFlag(1) != 0 {
		return vfs.EINVAL // links are made to what the path names itself
	}
	return c.do(Request{Op: OpLink, Handle: f.Handle, Path: p, Handle2: nf.Handle, Path2: np})
}

func (c *call) pathSymlink() Errno {
	target, e := c.path(c.u32(0), c.u32(1))
	if e != vfs.Success {
		return e
	}
	f, p, e := c.dirPath(2, 3, RightSymlink)
	if e != vfs.Success {
		return e
	}
	return c.do(Request{Op: OpSymlink, Path: target, Handle2: f.Handle, Path2: p})
}

func (c *call) pathReadlink() Errno {
	f, p, e := c.dirPath(0, 1, RightReadlink)
	if e != vfs.Success {
		return e
	}
	buf, ok := c.bytes(c.u32(3), c.u32(4))
	out, ok2 := c.bytes(c.u32(5), 4)
	if !ok || !ok2 {
		return vfs.EFAULT
	}
	if e := c.do(Request{Op: OpReadlink, Handle: f.Handle, Path: p}); e != vfs.Success {
		return e
	}
	// As readlink does: what does not fit is cut off.
	return c.count(out, uint64(copy(buf, c.resp.Data)), vfs.Success)
}

func (c *call) pathOpen() Errno {
	f, p, e := c.dirPath(0, 2, RightOpen)
	if e != vfs.Success {
		return e
	}
	oflags, rights, fdflags := c.u32(4), Rights(c.u64(5)), c.u32(7)
	out, ok := c.bytes(c.u32(8), 4)
	need := Rights(0)
	if oflags&oCreate != 0 {
		need |= RightCreateFile
	}
	if oflags&oTruncate != 0 {
		need |= RightPathSetSize
	}
	switch {
	case !ok:
		return vfs.EFAULT
	case oflags&^oMask != 0, fdflags&^uint32(fdFlagsMask) != 0:
		return vfs.EINVAL
	case f.Base&need != need, rights&^f.Inheriting&(RightRead|RightWrite) != 0:
		return vfs.ENOTCAPABLE
	case c.p.State.full():
		return vfs.EMFILE
	}
	if rights == 0 {
		rights = RightRead & f.Inheriting // hand-written guests ask for nothing and read
	}
	flags := c.followFlag(1)
	for i, flag := range [...]uint64{FlagCreate, FlagDirectory, FlagExclusive, FlagTruncate} {
		if oflags>>i&1 != 0 {
			flags |= flag
		}
	}
	inheriting := f.Inheriting
	if e := c.do(Request{
		Op: OpOpen, Handle: f.Handle, Path: p, Flags: flags, Rights: rights & inheriting,
		Inheriting: Rights(c.u64(6)) & inheriting,
	}); e != vfs.Success {
		return e
	}
	n := &FD{
		Handle: c.resp.Handle, Kind: KindFile, Type: c.resp.Stat.Type, Flags: uint16(fdflags),
		Base: c.resp.Rights & inheriting, Inheriting: c.resp.Inheriting & inheriting,
	}
	switch n.Type {
	case vfs.TypeRegular:
	case vfs.TypeDirectory:
		n.Kind = KindDir
	default:
		n.Kind = KindStream
	}
	fd, e := c.p.State.Insert(n)
	if e != vfs.Success {
		return e // cannot be: there was room
	}
	return c.count(out, uint64(fd), vfs.Success)
}
