package migrate

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// ErrBadState marks a state that came from the other side and cannot be one of this process.
var ErrBadState = errors.New("state refused")

// Process is an instance of a rewritten module together with what a capture needs of it. It is the same thing
// on the device and on a node. One goroutine at a time.
type Process struct {
	Manifest *rewrite.Manifest
	Inst     engine.Instance
	Mem      *linmem.Memory // nil: the module has none
	WASI     *wasi.Process

	hosts    map[[2]string]*hostImport // the embedder's functions that are imported, by module and name
	cells    []cell                    // by index
	segments []segment
	bodies   []engine.Func
	arms     []engine.Global
	stop     engine.Global // nil: the code does not poll
}

// cell is one mutable global: of a number type, or a vector through its accessors.
type cell struct {
	index    uint32
	kind     byte
	global   engine.Global
	get, set engine.Func
}

type segment struct {
	index uint32
	flag  engine.Global
	drop  engine.Func
}

// Bind finds in inst all that the manifest names. An error means that module and manifest do not belong together.
func Bind(inst engine.Instance, m *rewrite.Manifest, w *wasi.Process) (*Process, error) {
	p := &Process{Manifest: m, Inst: inst, WASI: w}
	if m.Memory != "" {
		if p.Mem = inst.Memory(); p.Mem == nil {
			return nil, fmt.Errorf("bind process: no memory %q", m.Memory)
		}
	}
	missing := func(kind, name string) error { return fmt.Errorf("bind process: no %s %q", kind, name) }
	for _, g := range m.Globals {
		c := cell{index: g.Index, kind: g.Type, global: inst.Global(g.Export)}
		if c.global == nil {
			return nil, missing("global", g.Export)
		}
		p.cells = append(p.cells, c)
	}
	for _, g := range m.Vectors {
		c := cell{index: g.Index, kind: typeV128, get: inst.Func(g.Get), set: inst.Func(g.Set)}
		if c.get == nil || c.set == nil {
			return nil, missing("accessor", g.Get)
		}
		p.cells = append(p.cells, c)
	}
	slices.SortFunc(p.cells, func(a, b cell) int { return cmp.Compare(a.index, b.index) })
	for _, s := range m.Segments {
		v := segment{s.Index, inst.Global(s.Flag), inst.Func(s.Drop)}
		if v.flag == nil || v.drop == nil {
			return nil, missing("segment", s.Flag)
		}
		p.segments = append(p.segments, v)
	}
	if m.Stop != "" {
		p.stop = inst.Global(m.Stop)
	}
	for _, c := range m.Candidates {
		f := inst.Func(c.Body)
		if f == nil {
			return nil, missing("function", c.Body)
		}
		p.bodies = append(p.bodies, f)
		if c.Arm == "" {
			continue
		}
		a := inst.Global(c.Arm)
		if a == nil {
			return nil, missing("global", c.Arm)
		}
		p.arms = append(p.arms, a)
	}
	return p, nil
}

// Arm sets or clears the flag of a candidate of the device's variant.
func (p *Process) Arm(id uint32, on bool) {
	bit := uint64(1) << p.Manifest.Candidates[id].Bit
	v := p.arms[id].Get() &^ bit
	if on {
		v |= bit
	}
	p.arms[id].Set(v)
}

// Nudge makes the guest call the host at its next poll. Any goroutine may call it while the process lives; a guest that
// counts at that moment may miss it.
func (p *Process) Nudge() {
	if p.stop != nil {
		p.stop.Set(1)
	}
}

// Body is the function of a candidate, never its wrapper.
func (p *Process) Body(id uint32) engine.Func { return p.bodies[id] }

// MemBytes is the size of the memory, 0 without one.
func (p *Process) MemBytes() uint64 {
	if p.Mem == nil {
		return 0
	}
	return p.Mem.Size()
}

// Capture reads the process's state but for the pages of its memory; base names the state that the pages to be
// sent lead from. It calls accessor functions of the instance where there are v128 globals.
func (p *Process) Capture(ctx context.Context, base delta.ID) (*wire.Image, error) {
	s := &wire.Image{Base: base, MemoryBytes: p.MemBytes()}
	for _, c := range p.cells {
		g := wire.Global{Index: c.index, Type: c.kind}
		if c.global != nil {
			g.Lo = c.global.Get()
		} else {
			var stack [2]uint64
			if err := c.get.Call(ctx, stack[:]); err != nil {
				return nil, fmt.Errorf("read vector global %d: %w", c.index, err)
			}
			g.Lo, g.Hi = stack[0], stack[1]
		}
		s.Globals = append(s.Globals, g)
	}
	for _, g := range p.segments {
		if g.flag.Get() != 0 {
			s.Dropped = append(s.Dropped, g.index)
		}
	}
	var err error
	if s.WASI, err = p.WASI.State.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("capture wasi state: %w", err)
	}
	return s, nil
}

// Check tells whether s can be a later state of this process: the right globals with values of their types,
// segments only ever dropped, memory only ever grown and within the maximum. It changes nothing.
func (p *Process) Check(s *wire.Image) error {
	if got, want := len(s.Globals), len(p.cells); got != want {
		return fmt.Errorf("%w: %d globals where the module has %d", ErrBadState, got, want)
	}
	for i, c := range p.cells {
		v := s.Globals[i]
		if v.Index != c.index || v.Type != c.kind {
			return fmt.Errorf("%w: global %d of type %#x where the module has global %d of type %#x",
				ErrBadState, v.Index, v.Type, c.index, c.kind)
		}
		if v.Hi != 0 && c.kind != typeV128 || (c.kind == typeI32 || c.kind == typeF32) && v.Lo>>32 != 0 {
			return fmt.Errorf("%w: value of global %d is out of its type's range", ErrBadState, c.index)
		}
	}
	for i, d := range s.Dropped {
		known := slices.ContainsFunc(p.segments, func(g segment) bool { return g.index == d })
		if !known || i > 0 && d <= s.Dropped[i-1] {
			return fmt.Errorf("%w: segment %d dropped, which the module cannot", ErrBadState, d)
		}
	}
	for _, g := range p.segments {
		if g.flag.Get() != 0 && !slices.Contains(s.Dropped, g.index) {
			return fmt.Errorf("%w: segment %d cannot be undropped", ErrBadState, g.index)
		}
	}
	switch have := p.MemBytes(); {
	case s.MemoryBytes%linmem.Unit != 0:
		return fmt.Errorf("%w: memory of %d bytes is no number of pages", ErrBadState, s.MemoryBytes)
	case s.MemoryBytes < have:
		return fmt.Errorf("%w: memory cannot shrink from %d to %d bytes", ErrBadState, have, s.MemoryBytes)
	case p.Mem == nil && s.MemoryBytes != 0, p.Mem != nil && s.MemoryBytes > p.Mem.Max():
		return fmt.Errorf("%w: memory of %d bytes is past the module's maximum", ErrBadState, s.MemoryBytes)
	}
	return nil
}

// Grow makes the memory as large as s says. It is the last step of taking a state that can fail.
func (p *Process) Grow(s *wire.Image) error {
	have := p.MemBytes()
	if s.MemoryBytes == have {
		return nil
	}
	if _, ok := p.Inst.Grow(uint32((s.MemoryBytes - have) / linmem.Unit)); !ok || p.MemBytes() != s.MemoryBytes {
		return fmt.Errorf("grow memory from %d to %d bytes: refused", have, s.MemoryBytes)
	}
	return nil
}

// Apply takes over globals, segments and the WASI state w (decoded from s.WASI and judged by the caller). s was
// checked and the memory grown. The accessors it may call do nothing that can fail.
func (p *Process) Apply(ctx context.Context, s *wire.Image, w *wasi.State) error {
	for i, c := range p.cells {
		v := s.Globals[i]
		if c.global != nil {
			c.global.Set(v.Lo)
		} else if err := c.set.Call(ctx, []uint64{v.Lo, v.Hi}); err != nil {
			return fmt.Errorf("set vector global %d: %w", c.index, err)
		}
	}
	for _, g := range p.segments {
		if g.flag.Get() == 0 && slices.Contains(s.Dropped, g.index) {
			if err := g.drop.Call(ctx, nil); err != nil {
				return fmt.Errorf("drop segment %d: %w", g.index, err)
			}
		}
	}
	p.WASI.State = w
	return nil
}

// NextID names the state that s and a delta with the given digest lead to. The base is part of it.
func NextID(s *wire.Image, deltaDigest [32]byte) delta.ID {
	b := binary.LittleEndian.AppendUint64(nil, s.MemoryBytes)
	for _, g := range s.Globals {
		b = binary.LittleEndian.AppendUint32(b, g.Index)
		b = append(b, g.Type)
		b = binary.LittleEndian.AppendUint64(b, g.Lo)
		b = binary.LittleEndian.AppendUint64(b, g.Hi)
	}
	var d []byte
	for _, x := range s.Dropped {
		d = binary.LittleEndian.AppendUint32(d, x)
	}
	return delta.NextID(s.Base, b, d, s.WASI, deltaDigest[:])
}

// InitialID names the state of a process that has just been instantiated: nothing but the module's segments.
func InitialID(module wire.ID) delta.ID { return delta.NextID(delta.ID{}, module[:]) }

const (
	typeI32  = 0x7f
	typeF32  = 0x7d
	typeV128 = 0x7b
)
