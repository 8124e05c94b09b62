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
func (m *Memory) View() (*Memory, error) {
	if m.area == nil {
		return nil, fmt.Errorf("view memory: %w", ErrClosed)
	}
	v := &Memory{opt: m.opt, kind: m.kind, size: m.size, max: m.max}
	area, err := m.area.view(m.size)
	if err == nil {
		v.area = area
		return v, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("view memory: %w", err)
	}
	if v.area, err = m.copyArea(); err != nil {
		return nil, fmt.Errorf("copy memory: %w", err)
	}
	return v, nil
}

// copyArea returns a mapping with the contents of m. What was never touched is not touched by the copying.
func (m *Memory) copyArea() (mapping, error) {
	area, err := reserve(uint64(len(m.area.bytes())), m.opt.anonymous)
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
