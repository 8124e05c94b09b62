package mirror

import (
	"context"
	"errors"

	"github.com/clonecloud/clonecloud/internal/replica"
)

// Checked is what a check came to.
type Checked = replica.Checked

// Checker is a Store whose objects can be damaged. Others have nothing to check.
type Checker interface {
	// Check looks through what is kept, with readData at all contents, and removes what is damaged. progress is called one
	// call at a time and is quick. What was found by then is returned with an error, too.
	Check(ctx context.Context, readData bool, progress func(Checked)) (Checked, error)
}

// ErrNothingKept tells that files are only kept in memory.
var ErrNothingKept = errors.New("this node keeps the files in memory only: there is nothing to check")

// Check checks what is kept of the device's files.
func (f *Files) Check(ctx context.Context, readData bool, progress func(Checked)) (Checked, error) {
	c, ok := f.cfg.Store.(Checker)
	if !ok {
		return Checked{}, ErrNothingKept
	}
	return c.Check(ctx, readData, progress)
}
