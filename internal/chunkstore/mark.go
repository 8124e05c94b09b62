package chunkstore

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// sort tells what an object is to whoever refers to it.
type sort uint8

const (
	asChunk sort = iota
	asNode
	asList
)

// sorts is a set of them: what an object was looked into as.
type sorts uint8

// reference is what a node or a root says of another object.
type reference struct {
	id   tree.ID
	sort sort
}

// marking goes from roots to all that they reach. Memory is bounded by what is there, not by what is referred to.
type marking struct {
	s *Store
	// absent is called for each reference to an object that is not there, and bad for each that is not of its sort.
	absent func(reference)
	bad    func(reference, error)

	mu      sync.Mutex
	reached map[name]sorts // guarded by mu
	next    []reference    // guarded by mu: to be looked into
}

func (s *Store) newMarking() *marking {
	return &marking{s: s, absent: func(reference) {}, bad: func(reference, error) {}, reached: map[name]sorts{}}
}

// from marks what roots reach, in addition to what is marked already. An error means that it is not known.
func (m *marking) from(ctx context.Context, roots []pinnedRoot) error {
	for _, r := range roots {
		m.see(reference{r.id, asNode})
	}
	for len(m.next) > 0 {
		level := m.next
		m.next = nil
		if err := place.Parallel(ctx, len(level), readers, func(i int) error { return m.look(ctx, level[i]) }); err != nil {
			return err
		}
	}
	return nil
}

// see takes note of a reference.
func (m *marking) see(r reference) {
	if r.id == (tree.ID{}) {
		return
	}
	n := m.s.secrets.name(r.id)
	_, there := m.s.index.get(n)
	if !there {
		_, there = m.s.waits(r.id)
	}
	if !there && m.s.stat != nil {
		there = m.s.look(n)
	}
	if !there {
		m.absent(r)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, as := m.reached[n], sorts(1)<<r.sort
	m.reached[n] = old | as
	if r.sort != asChunk && old&as == 0 {
		m.next = append(m.next, r)
	}
}

// look reads an object that refers to others.
func (m *marking) look(ctx context.Context, r reference) error {
	b, err := m.s.peek(ctx, r.id)
	if errors.Is(err, fs.ErrNotExist) {
		m.absent(r)
		return nil
	}
	if err != nil {
		return err
	}
	refs, err := references(r.sort, b)
	if err != nil {
		m.bad(r, err)
		return nil
	}
	for _, r := range refs {
		m.see(r)
	}
	return nil
}

// peek is Get without counting as a use.
func (s *Store) peek(ctx context.Context, id tree.ID) ([]byte, error) {
	if b, ok := s.waits(id); ok {
		return b, nil
	}
	n := s.secrets.name(id)
	raw, err := s.b.Get(ctx, n.item(), nil)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err == nil {
		var b []byte
		if b, err = s.secrets.open(n, raw); err == nil {
			return b, nil
		}
	}
	return nil, errors.Join(fs.ErrNotExist, err)
}

// references returns what a node or a list refers to.
func references(as sort, b []byte) ([]reference, error) {
	var refs []reference
	chunks := func(list []tree.Chunk) {
		for _, c := range list {
			refs = append(refs, reference{c.ID, asChunk})
		}
	}
	if as == asList {
		list, err := tree.DecodeList(b)
		chunks(list)
		return refs, err
	}
	n, err := tree.DecodeNode(b)
	if err != nil {
		return nil, err
	}
	for i := range n.Leaves {
		refs = append(refs, reference{n.Leaves[i].ID, asNode})
	}
	for i := range n.Entries {
		e := &n.Entries[i]
		refs = append(refs, reference{e.Dir, asNode}, reference{e.List, asList})
		chunks(e.Chunks)
	}
	return refs, nil
}
