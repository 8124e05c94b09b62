package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Errors, to be tested with errors.Is.
var (
	// ErrInvalid: the changes cannot have come about in the pinned version. Whoever sent them lies, or is broken.
	ErrInvalid = plan.ErrInvalid
	// ErrUnfit: the changes are possible, but not here: a name that this system does not have, a limit.
	ErrUnfit = plan.ErrUnfit
	// ErrDamaged: a plan is not as it was written.
	ErrDamaged = plan.ErrDamaged
	// ErrUnfinished: the changes count, but not all of them are carried out. Recover goes on.
	ErrUnfinished = errors.New("changes of files are not finished")
)

// What a plan is about; see package plan.
type (
	// Policy says what becomes of a file that the device and the clone both changed.
	Policy = plan.Policy
	// Base is the pinned version of a directory: what the clone began with.
	Base = plan.Base
	// Conflict is something that is no longer what was pinned, so that it was not simply changed.
	Conflict = plan.Conflict
)

// The policies.
const (
	KeepBoth   = plan.KeepBoth   // the device's version keeps its name, the clone's is laid beside it
	Fail       = plan.Fail       // nothing is changed
	CloneWins  = plan.CloneWins  // the clone's version takes the name, the device's is laid beside it
	DeviceWins = plan.DeviceWins // the clone's version is dropped, and reported
)

// Kinds of conflicts.
const (
	KindChanged = plan.KindChanged // both changed it
	KindRemoved = plan.KindRemoved // the device removed what the clone changed or moved
	KindExists  = plan.KindExists  // both made this name
	KindKept    = plan.KindKept    // the clone removed what the device changed; it stays
	KindDenied  = plan.KindDenied  // the system does not let it be changed any more
)

// Contents is what a Base may have too: the chunks of a file as it was pinned. It serves to tell whether bytes that the
// clone left as they were are still there in a file that others have changed.
type Contents interface {
	Content(ctx context.Context, ino uint64) ([]tree.Chunk, error)
}

// Config says where changes are applied, and how.
type Config struct {
	Dir   string // the directory
	State string // folder for plans; made if it is not there
	// Policy says what becomes of conflicts. Default KeepBoth.
	Policy Policy
	Base   Base
	// MaxBytes bounds the data that is written. 0: no bound.
	MaxBytes uint64
	// Now dates the names of versions laid aside. nil: time.Now.
	Now func() time.Time
	// Log takes messages of what was amiss and is dealt with. nil: none.
	Log func(format string, args ...any)
}

// ConflictError says that nothing was changed since there are conflicts.
type ConflictError struct{ Conflicts []Conflict }

func (e *ConflictError) Error() string {
	const most = 5
	var list []string
	for i, c := range e.Conflicts {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(e.Conflicts)-most))
			break
		}
		list = append(list, c.String())
	}
	return "files are not as the clone knew them: " + strings.Join(list, "; ")
}

// Result is what became of the changes.
type Result struct {
	Conflicts []Conflict
	// Paths says where each number of the Delta that is new or was moved stands now. Those that have no name have no path.
	Paths map[uint64]string
	// Changed are the paths that were touched.
	Changed []string
	unnamed map[uint64]*os.File
}

// system is what the package needs of the system, so that tests can break it.
type system struct {
	open func(path string) (disk.Folder, error)
}

var real = system{open: disk.OpenTop}
