package hostdir

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Watch lets the system note what changes in directories. An event is in its queue before the call that caused it
// returns, so that reading the queue, without waiting, gives all changes that were complete before: there is no goroutine
// that might be behind, which a library for all systems would have. What is written through a mapping of a file into
// memory gives no event, nor does what is done to a file under a name in a directory that is not watched.
type Watch struct {
	fd     int
	mounts int // /proc/self/mounts, which tells when something is mounted; -1: not there
	buf    []byte
}

const watched = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MOVE_SELF |
	unix.IN_ONLYDIR

// NewWatch begins to watch.
func NewWatch() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start to watch: %w", err)
	}
	w := &Watch{fd: fd, buf: make([]byte, 64<<10)}
	if w.mounts, err = openAt(unix.AT_FDCWD, "/proc/self/mounts", 0); err != nil {
		w.mounts = -1
	}
	return w, nil
}

// Add watches an open directory. The number is that of its events, above 0, and the same for the same directory. ErrBlind:
// this one cannot be watched.
func (w *Watch) Add(h *Dir) (int, error) {
	wd, err := unix.InotifyAddWatch(w.fd, procPath(h.fd), watched)
	switch {
	case errors.Is(err, unix.EACCES):
		return 0, ErrBlind
	case err != nil:
		return 0, fmt.Errorf("watch a directory: %w", err)
	}
	return wd, nil
}

// Remove ends the watch of a directory.
func (w *Watch) Remove(number int) {
	_, _ = unix.InotifyRmWatch(w.fd, uint32(number)) // gone with the directory, as a rule
}

// Drain calls fn for each directory in which something changed, perhaps several times; ended: it is no longer watched. all:
// anything may have changed.
func (w *Watch) Drain(fn func(number int, ended bool)) (all bool, err error) {
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
			if mask&(unix.IN_Q_OVERFLOW|unix.IN_UNMOUNT) != 0 {
				all = true
			} else {
				fn(wd, mask&unix.IN_IGNORED != 0)
			}
		}
	}
}

// remounted tells whether anything was mounted or unmounted since the last call.
func (w *Watch) remounted() bool {
	if w.mounts < 0 {
		return false
	}
	p := []unix.PollFd{{Fd: int32(w.mounts), Events: unix.POLLPRI}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLPRI) != 0
}

// Close ends watching.
func (w *Watch) Close() error {
	err := unix.Close(w.fd)
	if w.mounts >= 0 {
		err = errors.Join(err, unix.Close(w.mounts))
	}
	return err
}
