package reconcile

import "github.com/clonecloud/clonecloud/internal/tree"

// verdict is what becomes of a name that is to go.
type verdict uint8

const (
	nothing verdict = iota // there is nothing to do
	away                   // it goes
	stays                  // the device's version is another
	lost                   // what was to be moved is not there
)

// circumstances are what else matters for a displacement.
type circumstances struct {
	placed  bool // something comes to the same path
	spoiled bool // a write to the file was not made, since the device had changed it
	among   bool // other names of the file go too: each of them will do for those that it gets
	// fresh: nothing of the plan was ever begun. A crash may undo that a file was moved, and leave the time of that.
	fresh bool
}

// judge decides on a displacement by what is there.
func judge(d *displacement, there bool, cur *stat, c circumstances) verdict {
	replaceable := c.spoiled || c.among
	switch {
	case !there && (d.gone && !c.placed || replaceable):
		return nothing
	case !there:
		return lost
	case !d.was.same(cur):
		if d.gone || replaceable {
			return stays
		}
		return lost
	case d.takes > 0 && d.takes >= cur.nlink:
		return stays // the device has removed the other names
	case d.gone && (c.spoiled || d.write < 0 && (!d.was.unchanged(cur) || c.fresh && d.sole && d.was.hasContents() && cur.ctime != d.was.ctime)):
		return stays
	}
	return away
}

// spares finds, of files that have several names taken away, those in the staging folder that no placement is meant for.
func (s *steps) spares() (spare map[uint64][]string, among map[uint64]bool) {
	spare, among = map[uint64][]string{}, map[uint64]bool{}
	used := map[string]bool{}
	for i := range s.places {
		used[s.places[i].from] = true
	}
	seen := map[uint64]bool{}
	for i := range s.displaced {
		d := &s.displaced[i]
		if d.was.kind == tree.KindDir {
			continue
		}
		among[d.was.ino] = seen[d.was.ino]
		seen[d.was.ino] = true
		if !used[oldName(i)] {
			spare[d.was.ino] = append(spare[d.was.ino], oldName(i))
		}
	}
	return spare, among
}
