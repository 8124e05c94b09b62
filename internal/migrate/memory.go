package migrate

import (
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/linmem"
)

// ErrBounds marks a range of addresses that does not lie within the memory.
var ErrBounds = errors.New("out of bounds memory access")

// Memory is the linear memory of a guest that waits.
type Memory struct{ mem *linmem.Memory }

// Memory is the process's linear memory, to be used while no code of it runs.
func (p *Process) Memory() *Memory { return &Memory{p.Inst.Memory()} }

// Size is the number of bytes at present.
func (m *Memory) Size() uint64 {
	if m.mem == nil {
		return 0
	}
	return m.mem.Size()
}

// Read fills b from what stands at addr.
func (m *Memory) Read(addr uint32, b []byte) error {
	from, err := m.at("read", addr, len(b))
	copy(b, from)
	return err
}

// Write puts b at addr. An offload that follows takes it along.
func (m *Memory) Write(addr uint32, b []byte) error {
	to, err := m.at("write", addr, len(b))
	copy(to, b)
	return err
}

func (m *Memory) at(what string, addr uint32, n int) ([]byte, error) {
	size := m.Size()
	if uint64(n) > size || uint64(addr) > size-uint64(n) {
		return nil, fmt.Errorf("%s %d bytes at address %d of a memory of %d: %w", what, n, addr, size, ErrBounds)
	}
	if n == 0 {
		return nil, nil
	}
	return m.mem.Bytes()[addr:][:n], nil
}
