package plan

import (
	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Verdict is what becomes of a name that is to go.
type Verdict uint8

// The verdicts.
const (
	Nothing Verdict = iota // there is nothing to do
	Away                   // it goes
	Stays                  // the device's version is another
	Lost                   // what was to be moved is not there
)

// Circumstances are what else matters for a displacement.
type Circumstances struct {
	Placed  bool // something comes to the same path
	Spoiled bool // a write to the file was not made, since the device had changed it
	Among   bool // other names of the file go too: each of them will do for those that it gets
	// Fresh: nothing of the plan was ever begun. A crash may undo that a file was moved, and leave the time of that.
	Fresh bool
}

// Judge decides on a displacement by what is there.
func Judge(d *Displacement, there bool, cur *disk.Stat, c Circumstances) Verdict {
	replaceable := c.Spoiled || c.Among
	switch {
	case !there && (d.Gone && !c.Placed || replaceable):
		return Nothing
	case !there:
		return Lost
	case !d.Was.Same(cur):
		if d.Gone || replaceable {
			return Stays
		}
		return Lost
	case d.Takes > 0 && d.Takes >= cur.Nlink:
		return Stays // the device has removed the other names
	case d.Gone && (c.Spoiled || d.Write < 0 && (!d.Was.Unchanged(cur) || c.Fresh && d.Sole && d.Was.hasContents() && cur.Ctime != d.Was.Ctime)):
		return Stays
	}
	return Away
}

// Spares finds, of files that have several names taken away, those in the staging folder that no placement is meant for.
func (s *Steps) Spares() (spare map[uint64][]string, among map[uint64]bool) {
	spare, among = map[uint64][]string{}, map[uint64]bool{}
	used := map[string]bool{}
	for i := range s.Places {
		used[s.Places[i].From] = true
	}
	seen := map[uint64]bool{}
	for i := range s.Displaced {
		d := &s.Displaced[i]
		if d.Was.Kind == tree.KindDir {
			continue
		}
		among[d.Was.Ino] = seen[d.Was.Ino]
		seen[d.Was.Ino] = true
		if !used[OldName(i)] {
			spare[d.Was.Ino] = append(spare[d.Was.Ino], OldName(i))
		}
	}
	return spare, among
}
