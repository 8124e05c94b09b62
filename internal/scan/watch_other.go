//go:build !linux

package scan

import "errors"

// watcher does not exist here: other systems tell of changes only a while after them, and each Pin looks at everything.
type watcher struct{}

func newWatcher() (*watcher, error) { return nil, errors.ErrUnsupported }

func (w *watcher) add(*handle, *dir) error              { return errors.ErrUnsupported }
func (w *watcher) remove(*dir)                          {}
func (w *watcher) drain(func(*dir)) (all bool, _ error) { return true, nil }
func (w *watcher) close() error                         { return nil }
