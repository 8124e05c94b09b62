package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/rewrite"
)

// image makes the memories of a program's instances with what its manifest wants there. Where memory can be shared, all
// of them are views of one that is never written again. Safe for concurrent use.
type image struct {
	pieces []rewrite.Piece

	mu   sync.Mutex
	base *linmem.Memory // guarded by mu; nil: none yet, or none that could be shared
}

// memory makes one of lo bytes that may grow to hi.
func (i *image) memory(lo, hi uint64, opt linmem.Options) (*linmem.Memory, error) {
	if len(i.pieces) == 0 {
		return linmem.New(lo, hi, opt)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if b := i.base; b != nil && b.Size() == lo && b.Max() == min(hi, linmem.MaxSize) {
		return b.ViewWith(opt)
	}
	m, err := linmem.New(lo, hi, opt)
	if err != nil {
		return nil, err
	}
	if err := lay(m.Bytes(), i.pieces); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	if i.base != nil || !m.CopyOnWrite() {
		return m, nil
	}
	i.base = m
	return m.ViewWith(opt)
}

// lay puts the pieces into a memory that is all zero. Pages of zeros that stay zero are left alone, so that they cost
// nothing.
func lay(mem []byte, pieces []rewrite.Piece) error {
	var held linmem.PageSet
	for n, p := range pieces {
		if end := p.Offset + uint64(len(p.Data)); end < p.Offset || end > uint64(len(mem)) {
			return fmt.Errorf("lay out initial memory: piece %d of %d bytes at %d is beyond %d bytes", n, len(p.Data), p.Offset, len(mem))
		}
		for at, data := p.Offset, p.Data; len(data) > 0; {
			page := uint32(at / linmem.PageSize)
			k := min(linmem.PageSize-at%linmem.PageSize, uint64(len(data)))
			if held.Has(page) || !isZero(data[:k]) {
				copy(mem[at:], data[:k])
				held.Add(page)
			}
			at, data = at+k, data[k:]
		}
	}
	return nil
}

var zeros [linmem.PageSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// close releases the shared memory; the views live on.
func (i *image) close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.base == nil {
		return nil
	}
	err := i.base.Close()
	i.base = nil
	return err
}
