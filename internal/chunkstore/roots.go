package chunkstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

const (
	// maxRoots is how many roots may be pinned: a device chooses their names.
	maxRoots = 1024
	// again is how soon pinning the same root anew has no effect.
	again = 10 * time.Minute
	// readers read items at once where that takes time.
	readers = 16
)

// pin is a root that was pinned here, and when.
type pin struct {
	id tree.ID
	at time.Time
}

// pinnedRoot is a root as the backend has it.
type pinnedRoot struct {
	root
	item string
	used time.Time
}

// Pin keeps what the directory root reaches: it is not collected, and does not give way when the quota is reached. The
// root is durable under its name when Pin returns, and takes the place of an older one; what it reaches may come later.
// Of more than 1024 roots the one goes that was pinned longest ago.
func (s *Store) Pin(ctx context.Context, name string, id tree.ID) error {
	if name == "" || len(name) > maxRootName || id == (tree.ID{}) {
		return fmt.Errorf("pin root %v as %.100q: not a root or not a name", id, name)
	}
	now := s.o.now()
	s.mu.Lock()
	old, same := s.pins[name]
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("pin root %v: %w", id, ErrClosed)
	}
	item := s.secrets.rootItem(name)
	if same && old.id == id && now.Sub(old.at) < again && s.isPinned(ctx, item, id) {
		return nil
	}
	// Whoever collects meanwhile must see first what was found here for this root.
	if err := s.passed(ctx); err != nil {
		return fmt.Errorf("pin root %v: %w", id, err)
	}
	if err := s.b.PutAll(ctx, []Item{{Name: item, Data: s.secrets.sealRoot(root{name, id})}}); err != nil {
		return fmt.Errorf("pin root %v: %w", id, err)
	}
	s.mu.Lock()
	first := !same
	s.pins[name] = pin{id, now}
	s.pinned++
	s.mu.Unlock()
	if first {
		if err := s.limitRoots(ctx, item); err != nil {
			return fmt.Errorf("pin root %v: %w", id, err)
		}
	}
	return nil
}

// isPinned tells whether a root is as it should be: another process may have pinned another.
func (s *Store) isPinned(ctx context.Context, item string, id tree.ID) bool {
	b, err := s.b.Get(ctx, item, nil)
	if err != nil {
		return false
	}
	r, err := s.secrets.openRoot(item, b)
	return err == nil && r.id == id
}

// Unpin removes a root. One that is not there is no error.
func (s *Store) Unpin(ctx context.Context, name string) error {
	s.mu.Lock()
	delete(s.pins, name)
	s.pinned++
	s.mu.Unlock()
	if err := s.b.Delete(ctx, s.secrets.rootItem(name)); err != nil {
		return fmt.Errorf("unpin root %.100q: %w", name, err)
	}
	return nil
}

// passed waits until uses of objects have been passed on, where that is a matter of moments.
func (s *Store) passed(ctx context.Context) error {
	if s.stat == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.touch) > 0 || s.touching {
		if !s.writing { // the backend fails: a use that it does not know of is no reason not to pin
			return nil
		}
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// limitRoots removes the oldest roots beyond maxRoots, but not keep.
func (s *Store) limitRoots(ctx context.Context, keep string) error {
	var all []Info
	err := s.b.List(ctx, rootPrefix, func(i Info) error {
		if !i.Foreign && i.Name != keep {
			all = append(all, i)
		}
		return nil
	})
	if err != nil || len(all) < maxRoots {
		return err
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Name, b.Name)) })
	for _, i := range all[:len(all)-maxRoots+1] {
		if err := s.b.Delete(ctx, i.Name); err != nil {
			return err
		}
	}
	return nil
}

// roots returns all pinned roots, by name of item. One that cannot be read is an error: what it reaches is not known.
func (s *Store) roots(ctx context.Context) ([]pinnedRoot, error) {
	var infos []Info
	err := s.b.List(ctx, rootPrefix, func(i Info) error {
		if !i.Foreign {
			infos = append(infos, i)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list pinned roots: %w", err)
	}
	var mu sync.Mutex
	var list []pinnedRoot
	err = place.Parallel(ctx, len(infos), readers, func(i int) error {
		b, err := s.b.Get(ctx, infos[i].Name, nil)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var r root
		if err == nil {
			r, err = s.secrets.openRoot(infos[i].Name, b)
		}
		if err != nil {
			return fmt.Errorf("read pinned root %s: %w", infos[i].Name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		list = append(list, pinnedRoot{r, infos[i].Name, infos[i].Used})
		return nil
	})
	slices.SortFunc(list, func(a, b pinnedRoot) int { return cmp.Compare(a.item, b.item) })
	return list, err
}

// sameRoots tells whether two lists hold the same.
func sameRoots(a, b []pinnedRoot) bool {
	return slices.EqualFunc(a, b, func(a, b pinnedRoot) bool { return a.item == b.item && bytes.Equal(a.id[:], b.id[:]) })
}
