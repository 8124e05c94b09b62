package chunkstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Fault says what is wrong with an item.
type Fault string

// The faults that Check finds.
const (
	FaultForeign Fault = "foreign" // it is no item of a store
	FaultSize    Fault = "size"    // no object has its size
	FaultDamaged Fault = "damaged" // it is not what was stored
	FaultRoot    Fault = "root"    // a pinned root that cannot be read
	FaultSort    Fault = "sort"    // it is reached as a directory or a list, and is none
	FaultAbsent  Fault = "absent"  // it is reached, and not there
)

// Problem is what Check reports.
type Problem struct {
	Name    string // of the item
	Fault   Fault
	Err     error
	Removed bool
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s", p.Name, p.Fault)
	if p.Err != nil {
		s += ": " + p.Err.Error()
	}
	if p.Removed {
		s += " (removed)"
	}
	return s
}

// CheckStats say what a check looked at.
type CheckStats struct {
	Roots    int
	Objects  int
	Bytes    uint64 // of their items
	Reached  int    // objects from pinned roots
	Read     int    // objects that were read and verified
	Problems int    // but absent objects, which a device brings again when they are needed
	Absent   int
	Removed  int
}

// CheckOptions are those of a check.
type CheckOptions struct {
	ReadData bool // the contents of all objects are verified, too
	// Report is told what is found, Progress how far it is, at each item. They are called one at a time and must be quick.
	// Both are optional.
	Report   func(Problem)
	Progress func(CheckStats)
}

// check is a Check that runs.
type check struct {
	s *Store
	o CheckOptions

	mu     sync.Mutex
	st     CheckStats
	failed error
}

// Check looks at names, sizes, roots and what these reach, and at contents if it is to. It removes what is damaged if the
// store was opened with Repair; nothing that the namespace's owner did not store is touched. The error is of the check
// itself, the stats hold in any case.
func (s *Store) Check(ctx context.Context, o CheckOptions) (CheckStats, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	c := &check{s: s, o: o}
	err := s.Flush(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	if err == nil {
		err = c.failed
	}
	if err != nil {
		return c.st, fmt.Errorf("check kept files: %w", err)
	}
	return c.st, nil
}

func (c *check) run(ctx context.Context) error {
	var objects []name
	var roots []string
	err := c.s.b.List(ctx, "", func(i Info) error {
		n, ok := parseName(i.Name)
		switch {
		case i.Foreign || !ok && i.Name != formatName && len(i.Name) != len(rootPrefix)+2*len(n):
			c.problem(Problem{Name: i.Name, Fault: FaultForeign})
		case ok && (i.Size < int64(c.s.secrets.sealedSize(0)) || i.Size > int64(c.s.secrets.sealedSize(tree.MaxObject))):
			c.remove(ctx, Problem{Name: i.Name, Fault: FaultSize, Err: fmt.Errorf("%d bytes", i.Size)})
		case ok:
			objects = append(objects, n)
			c.step(func(st *CheckStats) { st.Objects, st.Bytes = st.Objects+1, st.Bytes+uint64(i.Size) })
		case i.Name != formatName:
			roots = append(roots, i.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.s.refresh(ctx); err != nil {
		return err
	}
	if c.o.ReadData {
		if err := place.Parallel(ctx, len(objects), c.atOnce(), func(i int) error { return c.object(ctx, objects[i]) }); err != nil {
			return err
		}
	}
	return c.reach(ctx, roots)
}

// step counts, and tells how far the check is.
func (c *check) step(count func(*CheckStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count(&c.st)
	if c.o.Progress != nil {
		c.o.Progress(c.st)
	}
}

// atOnce is how many objects are read at once: checking is computing, where reading does not take long.
func (c *check) atOnce() int {
	if c.s.stat == nil {
		return readers
	}
	return min(runtime.GOMAXPROCS(0), runtime.NumCPU())
}

// object verifies an object. Its id is not known from its name, but follows from its content.
func (c *check) object(ctx context.Context, n name) error {
	item := n.item()
	raw, err := c.s.b.Get(ctx, item, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone since
	}
	var b []byte
	if err == nil {
		b, err = c.s.secrets.open(n, raw)
	}
	if err == nil && c.s.secrets.name(tree.IDOf(b)) != n {
		err = fmt.Errorf("%w: another object's content", ErrDamaged)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("read object %s: %w", item, err)
	}
	c.step(func(st *CheckStats) { st.Read++ })
	if err != nil {
		c.s.index.drop(n)
		c.remove(ctx, Problem{Name: item, Fault: FaultDamaged, Err: err})
	}
	return nil
}

// reach goes from the roots to what they reach.
func (c *check) reach(ctx context.Context, items []string) error {
	var roots []pinnedRoot
	for _, item := range items {
		b, err := c.s.b.Get(ctx, item, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var r root
		if err == nil {
			r, err = c.s.secrets.openRoot(item, b)
		}
		switch {
		case err == nil:
			roots = append(roots, pinnedRoot{root: r, item: item})
		case errors.Is(err, ErrDamaged):
			c.remove(ctx, Problem{Name: item, Fault: FaultRoot, Err: err})
		default:
			return fmt.Errorf("read pinned root %s: %w", item, err)
		}
	}
	absent := map[name]bool{}
	m := c.s.newMarking()
	m.absent = func(r reference) {
		n := c.s.secrets.name(r.id)
		c.mu.Lock()
		first := !absent[n]
		absent[n] = true
		c.mu.Unlock()
		if first {
			c.problem(Problem{Name: n.item(), Fault: FaultAbsent})
		}
	}
	m.bad = func(r reference, err error) {
		c.problem(Problem{Name: c.s.secrets.name(r.id).item(), Fault: FaultSort, Err: err})
	}
	err := m.from(ctx, roots)
	c.step(func(st *CheckStats) { st.Roots, st.Reached = len(roots), len(m.reached) })
	return err
}

// remove reports a problem whose item goes, with Repair.
func (c *check) remove(ctx context.Context, p Problem) {
	if c.s.o.Repair {
		if err := c.s.b.Delete(ctx, p.Name); err != nil {
			c.mu.Lock()
			c.failed = cmp.Or(c.failed, fmt.Errorf("remove %s: %w", p.Name, err))
			c.mu.Unlock()
		} else {
			p.Removed = true
		}
	}
	c.problem(p)
}

func (c *check) problem(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Fault == FaultAbsent {
		c.st.Absent++
	} else {
		c.st.Problems++
	}
	if p.Removed {
		c.st.Removed++
	}
	if c.o.Report != nil {
		c.o.Report(p)
	}
}
