package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
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

	globals  []engine.Global
	vectors  []vector
	segments []segment
	bodies   []engine.Func
	arms     []engine.Global
}

type vector struct{ get, set engine.Func }

type segment struct {
	flag engine.Global
	drop engine.Func
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
		v := inst.Global(g.Export)
		if v == nil {
			return nil, missing("global", g.Export)
		}
		p.globals = append(p.globals, v)
	}
	for _, g := range m.Vectors {
		v := vector{inst.Func(g.Get), inst.Func(g.Set)}
		if v.get == nil || v.set == nil {
			return nil, missing("accessor", g.Get)
		}
		p.vectors = append(p.vectors, v)
	}
	for _, s := range m.Segments {
		v := segment{inst.Global(s.Flag), inst.Func(s.Drop)}
		if v.flag == nil || v.drop == nil {
			return nil, missing("segment", s.Flag)
		}
		p.segments = append(p.segments, v)
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
	v := uint64(0)
	if on {
		v = 1
	}
	p.arms[id].Set(v)
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

// Value is the value of one mutable global; Hi is used by v128 alone.
type Value struct{ Lo, Hi uint64 }

// State is a process's state but for the pages of its memory.
type State struct {
	Globals  []Value // in the manifest's order: Globals, then Vectors
	Dropped  []byte  // one 0 or 1 for each of the manifest's Segments
	MemBytes uint64
	WASI     []byte // encoded wasi.State
}

// Capture reads the state. It calls accessor functions of the instance where there are v128 globals.
func (p *Process) Capture(ctx context.Context) (*State, error) {
	s := &State{MemBytes: p.MemBytes()}
	for _, g := range p.globals {
		s.Globals = append(s.Globals, Value{Lo: g.Get()})
	}
	for i, v := range p.vectors {
		var stack [2]uint64
		if err := v.get.Call(ctx, stack[:]); err != nil {
			return nil, fmt.Errorf("read vector global %d: %w", p.Manifest.Vectors[i].Index, err)
		}
		s.Globals = append(s.Globals, Value{stack[0], stack[1]})
	}
	for _, g := range p.segments {
		s.Dropped = append(s.Dropped, byte(g.flag.Get()&1))
	}
	var err error
	if s.WASI, err = p.WASI.State.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("capture wasi state: %w", err)
	}
	return s, nil
}

// Check tells whether s can be a later state of this process: the right globals with values of their types,
// segments only ever dropped, memory only ever grown and within the maximum. It changes nothing.
func (p *Process) Check(s *State) error {
	if got, want := len(s.Globals), len(p.globals)+len(p.vectors); got != want {
		return fmt.Errorf("%w: %d globals where the module has %d", ErrBadState, got, want)
	}
	for i, g := range p.Manifest.Globals {
		v := s.Globals[i]
		if v.Hi != 0 || (g.Type == typeI32 || g.Type == typeF32) && v.Lo>>32 != 0 {
			return fmt.Errorf("%w: value of global %d is out of its type's range", ErrBadState, g.Index)
		}
	}
	if got, want := len(s.Dropped), len(p.segments); got != want {
		return fmt.Errorf("%w: %d segments where the module has %d", ErrBadState, got, want)
	}
	for i, d := range s.Dropped {
		if d > 1 || d == 0 && p.segments[i].flag.Get() != 0 {
			return fmt.Errorf("%w: segment %d cannot be undropped", ErrBadState, p.Manifest.Segments[i].Index)
		}
	}
	switch have := p.MemBytes(); {
	case s.MemBytes%wasmPage != 0:
		return fmt.Errorf("%w: memory of %d bytes is no number of pages", ErrBadState, s.MemBytes)
	case s.MemBytes < have:
		return fmt.Errorf("%w: memory cannot shrink from %d to %d bytes", ErrBadState, have, s.MemBytes)
	case p.Mem == nil && s.MemBytes != 0, p.Mem != nil && s.MemBytes > p.Mem.Max():
		return fmt.Errorf("%w: memory of %d bytes is past the module's maximum", ErrBadState, s.MemBytes)
	}
	return nil
}

// Grow makes the memory as large as s says. It is the last step of taking a state that can fail.
func (p *Process) Grow(s *State) error {
	have := p.MemBytes()
	if s.MemBytes == have {
		return nil
	}
	if _, ok := p.Inst.Grow(uint32((s.MemBytes - have) / wasmPage)); !ok || p.MemBytes() != s.MemBytes {
		return fmt.Errorf("grow memory from %d to %d bytes: refused", have, s.MemBytes)
	}
	return nil
}

// Apply takes over globals, segments and the WASI state w (decoded from s.WASI and judged by the caller). s was
// checked and the memory grown. The accessors it may call do nothing that can fail.
func (p *Process) Apply(ctx context.Context, s *State, w *wasi.State) error {
	for i, g := range p.globals {
		g.Set(s.Globals[i].Lo)
	}
	for i, v := range p.vectors {
		x := s.Globals[len(p.globals)+i]
		if err := v.set.Call(ctx, []uint64{x.Lo, x.Hi}); err != nil {
			return fmt.Errorf("set vector global %d: %w", p.Manifest.Vectors[i].Index, err)
		}
	}
	for i, g := range p.segments {
		if s.Dropped[i] == 1 && g.flag.Get() == 0 {
			if err := g.drop.Call(ctx, nil); err != nil {
				return fmt.Errorf("drop segment %d: %w", p.Manifest.Segments[i].Index, err)
			}
		}
	}
	p.WASI.State = w
	return nil
}

// SameSegments tells whether the process has dropped exactly the segments that s has.
func (p *Process) SameSegments(s *State) bool {
	now := make([]byte, len(p.segments))
	for i, g := range p.segments {
		now[i] = byte(g.flag.Get() & 1)
	}
	return slices.Equal(now, s.Dropped)
}

const (
	wasmPage = 64 << 10
	typeI32  = 0x7f
	typeF32  = 0x7d
)
