package plan

import (
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Errors, to be tested with errors.Is.
var (
	// ErrInvalid: the changes cannot have come about in the pinned version. Whoever sent them lies, or is broken.
	ErrInvalid = errors.New("changes cannot be of this directory")
	// ErrUnfit: the changes are possible, but not here: a name that this system does not have, a limit.
	ErrUnfit = errors.New("changes cannot be made here")
	// ErrDamaged: a plan is not as it was written.
	ErrDamaged = errors.New("plan of changes is damaged")
)

// Policy says what becomes of a file that the device and the clone both changed.
type Policy uint8

// The policies.
const (
	KeepBoth   Policy = iota // the device's version keeps its name, the clone's is laid beside it
	Fail                     // nothing is changed
	CloneWins                // the clone's version takes the name, the device's is laid beside it
	DeviceWins               // the clone's version is dropped, and reported
	NumPolicies
)

// Base is the pinned version of a directory: what the clone began with. Paths are slash-separated, "" is the root.
type Base interface {
	Lookup(path string) (tree.Entry, bool)
	Entries(dir string) ([]tree.Entry, bool)
}

// Kinds of conflicts.
const (
	KindChanged = "changed" // both changed it
	KindRemoved = "removed" // the device removed what the clone changed or moved
	KindExists  = "exists"  // both made this name
	KindKept    = "kept"    // the clone removed what the device changed; it stays
	KindDenied  = "denied"  // the system does not let it be changed any more
)

// Conflict is something that is no longer what was pinned, so that it was not simply changed. Nothing of either version
// is lost, except with DeviceWins the clone's.
type Conflict struct {
	Path  string // in the directory, slash-separated
	Aside string // where the version stands that does not have the name; "" if there is none
	Kind  string
	// Mixed says that the clone's version has bytes in it that the clone had not written, and that nobody has any more as it
	// knew them: those of the device's present version stand in their place, or zeros.
	Mixed bool
}

func (c Conflict) String() string {
	text := map[string]string{
		KindChanged: "was changed on the device and on the clone",
		KindRemoved: "was removed on the device and changed on the clone",
		KindExists:  "was made on the device and on the clone",
		KindKept:    "was changed on the device and removed on the clone",
		KindDenied:  "cannot be changed on the device any more",
	}[c.Kind]
	s := fmt.Sprintf("%q %s", c.Path, text)
	if c.Aside != "" {
		s += fmt.Sprintf("; the other version is %q", c.Aside)
	}
	if c.Mixed {
		s += ", in part with the device's present bytes"
	}
	return s
}
