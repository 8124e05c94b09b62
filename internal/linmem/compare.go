package linmem

import (
	"bytes"
	"errors"
)

// zeroPage is what a page holds before it is written.
var zeroPage [PageSize]byte

// isZero tells whether a whole page is zero.
func isZero(page []byte) bool { return bytes.Equal(page, zeroPage[:]) }

// compare is the tracker that keeps a copy of what the memory held when it was armed. Pages that are as they were at first
// are not in the copy, so a memory that is mostly untouched costs little, and so does a view.
type compare struct {
	m      *Memory
	shadow mapping
	size   uint64  // usable front of shadow
	held   PageSet // pages that the shadow holds; all others were as at first
	based  uint32  // see mapping.altered
	look   PageSet // scratch: the pages to look at
}

func newCompare(m *Memory) (tracker, error) {
	shadow, err := reserve(m.span(), 0, true)
	if err != nil {
		return nil, err
	}
	return &compare{m: m, shadow: shadow}, nil
}

func (c *compare) arm() error { return c.scan(nil) }

func (c *compare) collect(set *PageSet) error { return c.scan(set) }

// reach makes the shadow as large as the memory.
func (c *compare) reach() error {
	if c.m.size > c.size {
		if err := c.shadow.grow(c.size, c.m.size); err != nil {
			return err
		}
		c.size = c.m.size
	}
	return nil
}

// scan brings the shadow up to date and adds the pages that differed to set, if there is one.
func (c *compare) scan(set *PageSet) error {
	if err := c.reach(); err != nil {
		return err
	}
	c.look.Clear()
	var err error
	if c.based, err = c.m.area.altered(&c.look, c.size); err != nil {
		return err
	}
	c.look.Or(&c.held)
	for page := range c.look.All() {
		if c.update(page) && set != nil {
			set.Add(page)
		}
	}
	return nil
}

// update brings one page of the shadow up to date and tells whether it differed. What a view's page was at first is not
// known, but that it was altered.
func (c *compare) update(page uint32) bool {
	p := uint64(page) * PageSize
	src, dst := c.m.area.bytes()[p:p+PageSize], c.shadow.bytes()[p:p+PageSize]
	switch {
	case c.held.Has(page):
		if bytes.Equal(src, dst) {
			return false
		}
	case page >= c.based && isZero(src):
		return false
	}
	c.held.Add(page)
	copy(dst, src)
	return true
}

func (c *compare) forget(set *PageSet) error {
	if err := c.reach(); err != nil {
		return err
	}
	for page := range set.All() {
		c.update(page)
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
