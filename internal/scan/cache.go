package scan

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/scan/cachefile"
)

// noteEvery is how often the cache is written although nothing changed, so that it is not taken for forgotten.
const noteEvery = 24 * time.Hour

// cached is the record of a directory, decoded when it is asked for.
type cached struct {
	raw  []byte
	once sync.Once
	m    *image
	err  error
}

func (c *cached) image() (*image, error) {
	c.once.Do(func() { c.m, c.err = decodeImage(c.raw) })
	return c.m, c.err
}

// store is what a Tree knows of its part of the cache.
type store struct {
	gen    uint64
	used   time.Time
	loaded map[uint64]*cached // until the first update is done
	saved  map[uint64]*image  // what the records hold; nil: nothing is known of one
}

// load reads the records of this tree, if there are any.
func (t *Tree) load() {
	if t.o.Cache == "" {
		return
	}
	s, err := cachefile.Load(t.o.Cache, t.key)
	if err != nil && !errors.Is(err, cachefile.ErrBusy) {
		t.o.Log("%s: what was known of %s is not used: %v", t.o.Cache, t.name, err)
	}
	if err != nil || s.Records == nil {
		return
	}
	t.store = store{gen: s.Gen, used: s.Used, loaded: make(map[uint64]*cached, len(s.Records))}
	for ino, b := range s.Records {
		t.store.loaded[ino] = &cached{raw: b}
	}
}

// taken is called when the first update is done: the records have been compared with what there is.
func (t *Tree) taken() {
	if t.store.loaded == nil {
		return
	}
	t.store.saved = map[uint64]*image{}
	damaged := 0
	for ino, c := range t.store.loaded {
		t.store.saved[ino] = c.m
		if c.err != nil {
			damaged++
		}
	}
	if damaged > 0 {
		t.o.Log("%s: %d records of %s were damaged and are made anew", t.o.Cache, damaged, t.name)
	}
	t.store.loaded = nil
}

// Save writes what is known to the cache, so that another process need not read the files again. If one has the cache
// now, nothing is written, and nothing is lost but that knowledge.
func (t *Tree) Save() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save()
}

func (t *Tree) save() error {
	if t.o.Cache == "" || t.closed || t.root == nil || t.root.img == nil {
		return nil
	}
	err := t.update(context.Background(), false)
	if err == nil {
		err = t.writeCache()
	}
	if err != nil {
		return fmt.Errorf("save what is known of %s: %w", t.name, err)
	}
	return nil
}

func (t *Tree) writeCache() error {
	now := map[uint64]*image{}
	t.root.img.gather(now)
	same := len(now) == len(t.store.saved) && time.Since(t.store.used) < noteEvery
	for ino, m := range now {
		same = same && t.store.saved[ino] == m
	}
	if same {
		return nil
	}
	gen, damage, err := cachefile.Save(t.o.Cache, t.key, t.store.gen, func(w cachefile.Writer, anew bool) error {
		return t.fill(w, now, anew)
	})
	if damage != nil {
		t.o.Log("%s: made anew: %v", t.o.Cache, damage)
	}
	if errors.Is(err, cachefile.ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	t.store = store{gen: gen, used: time.Now(), saved: now}
	return nil
}

// fill writes the images that the cache has not.
func (t *Tree) fill(w cachefile.Writer, now map[uint64]*image, anew bool) error {
	saved := t.store.saved
	if anew {
		saved = nil
	}
	for ino := range saved {
		if now[ino] == nil {
			if err := w.Delete(ino); err != nil {
				return err
			}
		}
	}
	for ino, m := range now {
		if saved[ino] != m {
			if err := w.Put(ino, m.appendTo(nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *image) gather(all map[uint64]*image) {
	if m.apart {
		return
	}
	all[m.self.ino] = m
	for _, c := range m.children {
		c.gather(all)
	}
}
