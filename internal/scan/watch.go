package scan

import (
	"errors"
	"sync"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
)

// watcher knows which directory is watched under which number.
type watcher struct {
	w queue

	mu   sync.Mutex
	dirs map[int]*dir // guarded by mu
}

// queue is a hostdir.Watch.
type queue interface {
	Add(h *hostdir.Dir) (int, error)
	Remove(number int)
	Drain(fn func(number int, ended bool)) (all bool, err error)
	Close() error
}

func newWatcher() (*watcher, error) {
	w, err := hostdir.NewWatch()
	if err != nil {
		return nil, err
	}
	return &watcher{w: w, dirs: map[int]*dir{}}, nil
}

// add watches a directory that is open, if this user may.
func (w *watcher) add(h *hostdir.Dir, d *dir) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.w.Add(h)
	if errors.Is(err, hostdir.ErrBlind) {
		return nil
	}
	if err == nil {
		w.dirs[n] = d
		d.watch = n
	}
	return err
}

// remove ends a watch, unless another directory has taken it over: the same one under another name.
func (w *watcher) remove(d *dir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.watch != 0 && w.dirs[d.watch] == d {
		delete(w.dirs, d.watch)
		w.w.Remove(d.watch)
	}
}

// drain calls fn for each directory in which something changed. all: anything may have changed.
func (w *watcher) drain(fn func(*dir)) (all bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Drain(func(n int, ended bool) {
		d := w.dirs[n]
		if d == nil {
			return
		}
		if ended {
			delete(w.dirs, n)
			d.watch = 0
		}
		fn(d)
	})
}

func (w *watcher) close() error { return w.w.Close() }
