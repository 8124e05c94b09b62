//go:build !linux

package hostdir

import "errors"

// Watch does not exist here: other systems tell of changes only a while after them.
type Watch struct{}

// NewWatch says that there is none.
func NewWatch() (*Watch, error) { return nil, errors.ErrUnsupported }

// Add watches nothing.
func (w *Watch) Add(*Dir) (int, error) { return 0, errors.ErrUnsupported }

// Remove does nothing.
func (w *Watch) Remove(int) {}

// Drain says that anything may have changed.
func (w *Watch) Drain(func(int, bool)) (all bool, err error) { return true, nil }

// Close does nothing.
func (w *Watch) Close() error { return nil }
