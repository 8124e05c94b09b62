package linmem

import (
	"bytes"
	"errors"
)

// zeroPage is what a page holds before it is written.
var zeroPage [PageSize]byte

// isZero tells whether a whole page is zero.
func isZero(page []byte) bool { return bytes.Equal(page, zeroPage[:]) }

// compare is the tracker that keeps a copy of what the memory held when it was armed. Pages that are zero are not in
// the copy, so a memory that is mostly untouched costs little.
type compare struct {
	m      *Memory
	shadow mapping
	size   uint64  // usable front of shadow
	held   PageSet // pages that the shadow holds; all others were zero
	look   PageSet // scratch: the pages to look at
}

func newCompare(m *Memory) (tracker, error) {
	shadow, err := reserve(uint64(len(m.area.bytes())), true)
	if err != nil {
		return nil, err
	}
	return &compare{m: m, shadow: shadow}, nil
}

func (c *compare) arm() error { return c.scan(nil) }

func (c *compare) collect(set *PageSet) error { return c.scan(set) }

// scan brings the shadow up to date and adds the pages that differed to set, if there is one.
func (c *compare) scan(set *PageSet) error {
	if c.m.size > c.size {
		if err := c.shadow.grow(c.size, c.m.size); err != nil {
			return err
		}
		c.size = c.m.size
	}
	c.look.Clear()
	if err := c.m.area.touched(&c.look, c.size); err != nil {
		return err
	}
	c.look.Or(&c.held)
	now, old := c.m.area.bytes(), c.shadow.bytes()
	for page := range c.look.All() {
		p := uint64(page) * PageSize
		src, dst := now[p:p+PageSize], old[p:p+PageSize]
		if c.held.Has(page) {
			if bytes.Equal(src, dst) {
				continue
			}
		} else {
			if isZero(src) {
				continue
			}
			c.held.Add(page)
		}
		copy(dst, src)
		if set != nil {
			set.Add(page)
		}
	}
	return nil
}

func (c *compare) forget(set *PageSet) error {
	if c.m.size > c.size {
		if err := c.shadow.grow(c.size, c.m.size); err != nil {
			return err
		}
		c.size = c.m.size
	}
	now, old := c.m.area.bytes(), c.shadow.bytes()
	for page := range set.All() {
		p := uint64(page) * PageSize
		if src := now[p : p+PageSize]; c.held.Has(page) || !isZero(src) {
			c.held.Add(page)
			copy(old[p:p+PageSize], src)
		}
	}
	return nil
}

func (c *compare) grown(_, _ uint64) {} // the shadow follows in scan

func (c *compare) overhead() uint64 {
	return uint64(c.held.Len())*PageSize + uint64(len(c.held.words)+len(c.look.words))*8
}

func (c *compare) close() error {
	if c.shadow == nil {
		return errors.New("BUG: tracker closed twice")
	}
	err := c.shadow.close()
	c.shadow = nil
	return err
}
