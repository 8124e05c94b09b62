package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher lets the system note what changes. An event is in its queue before the call that caused it returns, so that
// reading the queue, without waiting, gives all changes that were complete before: there is no goroutine that might be
// behind, which a library for all systems would have. What is written through a mapping of a file into memory gives no event.
type watcher struct {
	fd     int
	mounts int // /proc/self/mounts, which tells when something is mounted; -1: not there
	buf    []byte

	mu   sync.Mutex
	dirs map[int]*dir // guarded by mu: by the system's number of the watch
}

const watched = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start to watch: %w", err)
	}
	w := &watcher{fd: fd, buf: make([]byte, 64<<10), dirs: map[int]*dir{}}
	if w.mounts, err = openAt(unix.AT_FDCWD, "/proc/self/mounts", 0); err != nil {
		w.mounts = -1
	}
	return w, nil
}

// add watches a directory that is open; errBlind: this one cannot be.
func (w *watcher) add(h *handle, d *dir) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := unix.InotifyAddWatch(w.fd, procPath(h.fd), watched)
	switch {
	case errors.Is(err, unix.EACCES):
		return errBlind
	case err != nil:
		return fmt.Errorf("watch a directory: %w", err)
	}
	w.dirs[wd] = d
	d.watch = wd
	return nil
}

// remove ends a watch, unless another directory has taken it over: the same one under another name.
func (w *watcher) remove(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.watch != 0 && w.dirs[d.watch] == d {
		delete(w.dirs, d.watch)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(d.watch)) // gone with the directory, as a rule
	}
}

// drain calls fn for each directory in which something changed, perhaps several times. all: anything may have changed.
func (w *watcher) drain(fn func(*dir)) (all bool, err error) {
	all = w.remounted()
	for {
		n := 0
		err := again(func() (err error) {
			n, err = unix.Read(w.fd, w.buf)
			return err
		})
		if errors.Is(err, unix.EAGAIN) {
			return all, nil
		}
		if err == nil && n == 0 {
			err = unix.EIO // a queue has no end
		}
		if err != nil {
			return true, fmt.Errorf("read what changed: %w", err)
		}
		for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int(int32(binary.NativeEndian.Uint32(b)))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if size > len(b) {
				return true, fmt.Errorf("read what changed: %w", unix.EIO)
			}
			b = b[size:]
			all = w.event(wd, mask, fn) || all
		}
	}
}

func (w *watcher) event(wd int, mask uint32, fn func(*dir)) (all bool) {
	if mask&(unix.IN_Q_OVERFLOW|unix.IN_UNMOUNT) != 0 {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.dirs[wd]
	if d == nil {
		return false
	}
	if mask&unix.IN_IGNORED != 0 {
		delete(w.dirs, wd)
		d.watch = 0
	}
	fn(d)
	return false
}

// remounted tells whether anything was mounted or unmounted since the last call.
func (w *watcher) remounted() bool {
	if w.mounts < 0 {
		return false
	}
	p := []unix.PollFd{{Fd: int32(w.mounts), Events: unix.POLLPRI}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLPRI) != 0
}

func (w *watcher) close() error {
	err := unix.Close(w.fd)
	if w.mounts >= 0 {
		err = errors.Join(err, unix.Close(w.mounts))
	}
	return err
}
