package vfs

// Path operations of an in-memory directory.

func (d *memDir) StatPath(path string, follow bool) (Stat, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, err := d.m.must(d.n, path, follow)
	if err != nil {
		return Stat{}, err
	}
	return f.n.stat, nil
}

func (d *memDir) SetTimesPath(path string, follow bool, t Times) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, err := d.m.must(d.n, path, follow)
	if err != nil {
		return err
	}
	return d.m.setTimes(f.n, t)
}

func (d *memDir) Mkdir(path string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, _, err := d.m.entry(d.n, path, EEXIST)
	switch {
	case err != nil:
		return err
	case f.n != nil:
		return EEXIST
	}
	return d.m.link(f, d.m.newNode(TypeDirectory))
}

func (d *memDir) Rmdir(path string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, _, err := d.m.entry(d.n, path, EINVAL)
	switch {
	case err != nil:
		return err
	case f.n == nil:
		return ENOENT
	case !f.n.isDir():
		return ENOTDIR
	case len(f.n.children) > 0:
		return ENOTEMPTY
	}
	d.m.drop(f)
	return nil
}

func (d *memDir) Unlink(path string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, nm, err := d.m.entry(d.n, path, EISDIR)
	switch {
	case err != nil:
		return err
	case f.n == nil:
		return ENOENT
	case f.n.isDir():
		return EISDIR
	case nm.slash:
		return ENOTDIR
	}
	d.m.drop(f)
	return nil
}

func (d *memDir) Rename(path string, to Dir, newPath string) error {
	nd, ok := to.(*memDir)
	if !ok || nd.m != d.m {
		return EXDEV
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, nm, err := d.m.entry(d.n, path, EBUSY)
	switch {
	case err != nil:
		return err
	case f.n == nil:
		return ENOENT
	}
	nnm, err := parse(newPath)
	switch {
	case err != nil:
		return err
	case !nnm.dot && !f.n.isDir() && (nm.slash || nnm.slash):
		return ENOTDIR
	}
	nf, _, err := d.m.entry(nd.n, newPath, EBUSY)
	switch {
	case err != nil:
		return err
	case nf.n == f.n:
		return nil
	case nf.dir.stat.Nlink == 0:
		return ENOENT
	}
	if within(nf.dir, f.n) {
		return EINVAL // into itself
	}
	if within(f.dir, nf.n) {
		return ENOTEMPTY
	}
	if nf.n != nil {
		switch {
		case f.n.isDir() && !nf.n.isDir():
			return ENOTDIR
		case !f.n.isDir() && nf.n.isDir():
			return EISDIR
		case len(nf.n.children) > 0:
			return ENOTEMPTY
		}
		d.m.drop(nf)
	}
	d.m.unlink(f)
	if err := d.m.link(nf, f.n); err != nil {
		// A longer name did not fit: as it was.
		_ = d.m.link(f, f.n)
		return err
	}
	f.n.stat.Ctime = d.m.opt.Now()
	return nil
}

// within says whether a directory is n or lies below it.
func within(dir, n *node) bool {
	for ; dir != nil; dir = dir.parent {
		if dir == n {
			return true
		}
	}
	return false
}

func (d *memDir) Link(path string, to Dir, newPath string) error {
	nd, ok := to.(*memDir)
	if !ok || nd.m != d.m {
		return EXDEV
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, nm, err := d.m.entry(d.n, path, EPERM)
	switch {
	case err != nil:
		return err
	case f.n == nil:
		return ENOENT
	case f.n.isDir():
		return EPERM
	case nm.slash:
		return ENOTDIR
	}
	nf, nnm, err := d.m.entry(nd.n, newPath, EEXIST)
	if err != nil {
		return err
	}
	if err := canMake(nf, nnm); err != nil {
		return err
	}
	if err := d.m.link(nf, f.n); err != nil {
		return err
	}
	f.n.stat.Nlink++
	f.n.stat.Ctime = d.m.opt.Now()
	return nil
}

// canMake refuses a name that is taken, and one with a slash at its end, which only a directory may have.
func canMake(f found, nm name) error {
	switch {
	case f.n == nil && nm.slash:
		return ENOENT
	case f.n != nil && nm.slash && !f.n.isDir():
		return ENOTDIR
	case f.n != nil:
		return EEXIST
	}
	return nil
}

func (d *memDir) Symlink(target, path string) error {
	if err := checkTarget(target); err != nil {
		return err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, nm, err := d.m.entry(d.n, path, EEXIST)
	if err != nil {
		return err
	}
	if err := canMake(f, nm); err != nil {
		return err
	}
	size := uint64(len(target))
	if err := d.m.charge(size); err != nil {
		return err
	}
	n := d.m.newNode(TypeSymlink)
	n.target, n.stat.Size = target, size
	if err := d.m.link(f, n); err != nil {
		d.m.used -= size
		return err
	}
	return nil
}

func (d *memDir) Readlink(path string) (string, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, err := d.m.must(d.n, path, false)
	switch {
	case err != nil:
		return "", err
	case f.n.stat.Type != TypeSymlink:
		return "", EINVAL
	}
	return f.n.target, nil
}
