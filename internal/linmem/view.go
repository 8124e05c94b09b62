package linmem

import (
	"errors"
	"fmt"
)

// View returns a memory with the same size, maximum and contents. What is written to the view is never seen by m, and
// both grow independently. The view is not tracked; it has its own Track.
//
// Over a memfd a view is copy-on-write: one mapping, whatever the size, and then only the pages (the host's) that are
// written to it. What is written to m afterwards IS seen in those pages of the view to which nothing has been written
// yet, and is not noticed by the view's tracker. So m must stay still as long as its contents of now matter in the
// view. Elsewhere, and as the view of a view, it is a copy, which follows nothing; do not rely on either.
//
// m may grow or be closed meanwhile: neither is seen in the view.
//
// Several goroutines may make views of m at the same time, while nothing else is done to it.
func (m *Memory) View() (*Memory, error) { return m.ViewWith(m.opt) }

// ViewWith is View with options of the view's own. It reserves at least as much address space as m does.
func (m *Memory) ViewWith(opt Options) (*Memory, error) {
	if m.area == nil {
		return nil, fmt.Errorf("view memory: %w", ErrClosed)
	}
	opt.Reserve, opt.anonymous = max(opt.Reserve, m.opt.Reserve), m.opt.anonymous
	v := &Memory{opt: opt, size: m.size, max: m.max}
	if err := v.choose(m.size); err != nil {
		return nil, fmt.Errorf("view memory: %w", err)
	}
	area, err := m.area.view(m.size, max(v.span(), opt.Reserve))
	if err == nil {
		v.area = area
		return v, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("view memory: %w", err)
	}
	if v.area, err = m.copyArea(opt.Reserve); err != nil {
		return nil, fmt.Errorf("copy memory: %w", err)
	}
	return v, nil
}

// CopyOnWrite tells whether views of m are copy-on-write, and not copies.
func (m *Memory) CopyOnWrite() bool { return m.area != nil && m.area.shares() }

// copyArea returns a mapping with the contents of m. What was never touched is not touched by the copying.
func (m *Memory) copyArea(space uint64) (mapping, error) {
	area, err := reserve(m.span(), space, m.opt.anonymous)
	if err != nil {
		return nil, err
	}
	var touched PageSet
	err = m.area.touched(&touched, m.size)
	if err == nil && m.size > 0 {
		err = area.grow(0, m.size)
	}
	if err != nil {
		return nil, errors.Join(err, area.close())
	}
	from, to := m.area.bytes(), area.bytes()
	for page := range touched.All() {
		p := uint64(page) * PageSize
		if src := from[p : p+PageSize]; !isZero(src) {
			copy(to[p:p+PageSize], src)
		}
	}
	return area, nil
}
