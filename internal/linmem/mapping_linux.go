package linmem

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// linuxMapping is a reservation over a memfd, over anonymous memory, or, for a view, over both.
type linuxMapping struct {
	area  []byte // what the maximum needs
	space []byte // the whole reservation, which begins with area
	// file is the memfd, or nil. A view holds it too: its base may be closed first.
	file *memfd
	// front is how much of the reservation maps the file.
	front uint64
	// private: the front is a copy-on-write view of the file.
	private bool
}

// memfd is a file descriptor that several mappings share.
type memfd struct {
	fd   int
	mu   sync.Mutex
	refs int // guarded by mu
}

func (f *memfd) acquire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs++
}

func (f *memfd) release() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs--; f.refs > 0 {
		return nil
	}
	return unix.Close(f.fd)
}

// newMemfd returns a file of size bytes, all a hole, whose size is sealed.
func newMemfd(size uint64) (*memfd, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return nil, err
	}
	if limit.Cur < size {
		return nil, unix.EFBIG // ftruncate would send a signal that ends the process
	}
	const name, flags = "clonecloud", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Against mistakes only: a file that shrinks would turn accesses into SIGBUS.
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &memfd{fd: fd, refs: 1}, nil
}

// reserve reserves size bytes of address space, and what more makes space bytes, nothing of it usable yet.
func reserve(size, space uint64, anonymous bool) (mapping, error) {
	space = max(size, space)
	if space > math.MaxInt {
		return nil, unix.ENOMEM
	}
	if !anonymous {
		if file, err := newMemfd(size); err == nil {
			// Past the file's end it only reserves: that is never made accessible.
			all, err := unix.Mmap(file.fd, 0, int(space), unix.PROT_NONE, unix.MAP_SHARED|unix.MAP_NORESERVE)
			if err != nil {
				return nil, errors.Join(err, file.release())
			}
			noHugePages(all)
			return &linuxMapping{area: all[:size:size], space: all, file: file, front: size}, nil
		}
	}
	all, err := reserveAnonymous(space)
	if err != nil {
		return nil, err
	}
	return &linuxMapping{area: all[:size:size], space: all}, nil
}

func reserveAnonymous(size uint64) ([]byte, error) {
	area, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	noHugePages(area)
	return area, nil
}

// noHugePages keeps pages small: with a huge one, one written byte would be 2 MiB to send. A kernel without huge pages
// refuses, rightly.
func noHugePages(area []byte) { _ = unix.Madvise(area, unix.MADV_NOHUGEPAGE) }

func (l *linuxMapping) bytes() []byte { return l.area }

func (l *linuxMapping) grow(from, to uint64) error {
	return unix.Mprotect(l.area[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

func (l *linuxMapping) shares() bool { return l.file != nil && !l.private }

func (l *linuxMapping) view(size, space uint64) (mapping, error) {
	if !l.shares() {
		return nil, errors.ErrUnsupported
	}
	if space > math.MaxInt {
		return nil, unix.ENOMEM
	}
	// Beyond the front lies anonymous memory, so that a view grows into zeros of its own.
	all, err := reserveAnonymous(space)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		if err := mapOver(all[:size], l.file.fd); err != nil {
			return nil, errors.Join(fmt.Errorf("map view: %w", err), unix.Munmap(all))
		}
		noHugePages(all)
	}
	l.file.acquire()
	n := len(l.area)
	return &linuxMapping{area: all[:n:n], space: all, file: l.file, front: size, private: true}, nil
}

func (l *linuxMapping) close() error {
	err := unix.Munmap(l.space)
	if l.file != nil {
		err = errors.Join(err, l.file.release())
	}
	return err
}

func (l *linuxMapping) touched(set *PageSet, size uint64) error {
	if l.file != nil {
		if err := l.file.data(set, min(size, l.front)); err != nil {
			return err
		}
		if !l.private {
			return nil
		}
	}
	if err := mappedPages(set, l.area[:size], false); err != nil {
		set.AddRange(0, uint32(size/PageSize))
	}
	return nil
}

func (l *linuxMapping) altered(set *PageSet, size uint64) (uint32, error) {
	if !l.private || !pagemapTells() {
		return 0, l.touched(set, size)
	}
	return uint32(l.front / PageSize), mappedPages(set, l.area[:size], true)
}

// data adds the pages below size that the file holds, swapped out or not.
func (f *memfd) data(set *PageSet, size uint64) error { return f.dataIn(set, 0, size) }

// dataIn is data for [first, size).
func (f *memfd) dataIn(set *PageSet, first, size uint64) error {
	for at := int64(first); at < int64(size); {
		from, err := unix.Seek(f.fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= int64(size) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("seek data: %w", err)
		}
		to, err := unix.Seek(f.fd, from, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek hole: %w", err)
		}
		set.AddRange(uint32(from/PageSize), uint32((min(to, int64(size))+PageSize-1)/PageSize))
		at = to
	}
	return nil
}
