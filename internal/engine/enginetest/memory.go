package enginetest

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
)

func memoryModule(low, high uint64) *module {
	m := &module{}
	poke := m.importFunc("host", "poke", "i:i")
	m.memory(low, high)
	m.fn("load", "i:i", "", "local.get 0; i32.load")
	m.fn("store", "ii", "", "local.get 0; local.get 1; i32.store")
	m.fn("size", ":i", "", "memory.size")
	m.fn("grow", "i:i", "", "local.get 0; memory.grow")
	m.fn("poke", "i:i", "", "local.get 0; call "+itoa(poke)+"; i32.load")
	m.data("i32.const 8", []byte{1, 2, 3, 4})
	return m
}

// pokes grows the memory by a page and writes at its end.
var pokes = host(funcs{"poke": hostFunc("i:i", func(_ context.Context, inst engine.Instance, stack []uint64) error {
	old, ok := inst.Grow(1)
	if !ok {
		return errors.New("grow by the host failed")
	}
	at := uint64(old) * engine.PageSize
	binary.LittleEndian.PutUint32(inst.Memory().Bytes()[at:], uint32(stack[0]))
	stack[0] = at
	return nil
})})

func testMemory(t *testing.T, s *suite) {
	t.Run("identity", func(t *testing.T) { testMemoryIdentity(t, s) })
	t.Run("grow", func(t *testing.T) { testGrow(t, s) })
	t.Run("largest", func(t *testing.T) { testLargest(t, s) })
	t.Run("given", func(t *testing.T) { testGivenMemory(t, s) })
	t.Run("withheld", func(t *testing.T) { testWithheld(t, s) })
	t.Run("dirty", func(t *testing.T) { testDirty(t, s) })
	t.Run("none", func(t *testing.T) {
		m := &module{}
		m.fn("f", "", "", "")
		inst := s.instance(t, m, engine.Config{})
		if inst.Memory() != nil {
			t.Error("there is a memory")
		}
		if _, ok := inst.Grow(0); ok {
			t.Error("nothing grew")
		}
	})
}

func testMemoryIdentity(t *testing.T, s *suite) {
	cfg := pokes
	var mem *linmem.Memory
	cfg.Memory = func(minSize, maxSize, reserve uint64) (*linmem.Memory, error) {
		if minSize != engine.PageSize || maxSize != 5*engine.PageSize {
			t.Errorf("asked for %d to %d bytes", minSize, maxSize)
		}
		var err error
		mem, err = linmem.New(minSize, maxSize, linmem.Options{Tracker: linmem.None, Reserve: reserve})
		return mem, err
	}
	inst := s.instance(t, memoryModule(1, 5), cfg)
	base := &inst.Memory().Bytes()[0]
	same := func() {
		t.Helper()
		if inst.Memory() != mem || &mem.Bytes()[0] != base {
			t.Fatal("the memory moved")
		}
	}
	same()
	if got := mem.Bytes()[8:12]; string(got) != "\x01\x02\x03\x04" {
		t.Errorf("data segment: %x", got)
	}
	binary.LittleEndian.PutUint32(mem.Bytes()[100:], 0xcafe)
	want(t, inst, 0xcafe, "load", 100)
	if _, err := call(context.Background(), inst, "store", 200, 0xbeef); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint32(mem.Bytes()[200:]); got != 0xbeef {
		t.Errorf("the guest wrote %#x", got)
	}
	want(t, inst, 1, "grow", 1)
	same()
	want(t, inst, 77, "poke", 77)
	same()
	if mem.Size() != 3*engine.PageSize {
		t.Errorf("size is %d", mem.Size())
	}
	want(t, inst, 77, "load", 2*engine.PageSize)
	want(t, inst, 0xcafe, "load", 100)
	if err := inst.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if mem.Bytes() != nil {
		t.Error("the memory was not closed")
	}
	if _, err := call(context.Background(), inst, "load", 0); err == nil {
		t.Error("a closed instance gave a function")
	}
}

func testGrow(t *testing.T, s *suite) {
	inst := s.instance(t, memoryModule(1, 3), pokes)
	load := inst.Func("load")
	_, err := call(context.Background(), inst, "load", engine.PageSize)
	wantTrap(t, err, engine.TrapMemoryBounds)
	if old, ok := inst.Grow(0); !ok || old != 1 {
		t.Errorf("grow by 0: %d, %t", old, ok)
	}
	if old, ok := inst.Grow(1); !ok || old != 1 {
		t.Errorf("grow by 1: %d, %t", old, ok)
	}
	want(t, inst, 2, "size")
	want(t, inst, 0, "load", engine.PageSize)
	for _, delta := range []uint32{2, 1 << 16, 1 << 31, 1<<32 - 1} {
		if _, ok := inst.Grow(delta); ok {
			t.Errorf("grew by %d pages", delta)
		}
		want(t, inst, 0xffffffff, "grow", uint64(delta))
	}
	want(t, inst, 2, "grow", 1)
	want(t, inst, 3, "grow", 0)
	stack := []uint64{3*engine.PageSize - 4}
	if err := load.Call(context.Background(), stack); err != nil {
		t.Error(err)
	}
}

func testLargest(t *testing.T, s *suite) {
	inst := s.instance(t, memoryModule(1, 0), pokes)
	want(t, inst, 0xffffffff, "grow", engine.MaxPages)
	want(t, inst, 1, "grow", engine.MaxPages-1)
	want(t, inst, engine.MaxPages, "size")
	if inst.Memory().Size() != linmem.MaxSize {
		t.Errorf("size is %d", inst.Memory().Size())
	}
	want(t, inst, 0, "load", linmem.MaxSize-4)
	_, err := call(context.Background(), inst, "load", linmem.MaxSize-3)
	wantTrap(t, err, engine.TrapMemoryBounds)
	want(t, inst, 0xffffffff, "grow", 1)

	code := s.compile(t, memoryModule(engine.MaxPages+1, 0))
	if _, err := code.Instantiate(context.Background(), pokes); err == nil {
		t.Error("made a memory of 4 GiB")
	}
}

func testGivenMemory(t *testing.T, s *suite) {
	code := s.compile(t, memoryModule(1, 4))
	cfg := pokes
	refusal := errors.New("no memory today")
	cfg.Memory = func(_, _, _ uint64) (*linmem.Memory, error) { return nil, refusal }
	if _, err := code.Instantiate(context.Background(), cfg); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	var mem *linmem.Memory
	cfg.Memory = func(minSize, maxSize, reserve uint64) (m *linmem.Memory, err error) {
		mem, err = linmem.New(minSize-engine.PageSize, maxSize, linmem.Options{Reserve: reserve})
		return mem, err
	}
	if _, err := code.Instantiate(context.Background(), cfg); err == nil || mem.Bytes() != nil {
		t.Errorf("took a memory that is too small: %v", err)
	}
	cfg.Memory = func(minSize, maxSize, reserve uint64) (*linmem.Memory, error) {
		m, err := linmem.New(2*minSize, maxSize-engine.PageSize, linmem.Options{Reserve: reserve})
		if err == nil {
			copy(m.Bytes()[engine.PageSize:], "here")
		}
		return m, err
	}
	inst := instantiate(t, code, cfg)
	want(t, inst, 2, "size")
	want(t, inst, uint64(binary.LittleEndian.Uint32([]byte("here"))), "load", engine.PageSize)
	want(t, inst, 0xffffffff, "grow", 2)
	want(t, inst, 2, "grow", 1)
}

// testWithheld: a guest is ended that asks for more memory than it may have here, while the module would let it have
// that; what no machine would give it gets -1 for.
func testWithheld(t *testing.T, s *suite) {
	cfg := pokes
	cfg.Memory = func(minSize, maxSize, reserve uint64) (*linmem.Memory, error) {
		return linmem.New(minSize, maxSize, linmem.Options{Tracker: linmem.None, Reserve: reserve, Limit: 3 * engine.PageSize})
	}
	inst := s.instance(t, memoryModule(1, 5), cfg)
	want(t, inst, 1, "grow", 1)
	want(t, inst, 0xffffffff, "grow", 4)
	for range 2 { // whatever ended the first leaves nothing behind
		if _, err := call(context.Background(), inst, "grow", 2); !errors.Is(err, engine.ErrMemory) {
			t.Errorf("grown past the limit: %v", err)
		}
		want(t, inst, 2, "size")
		want(t, inst, 2, "grow", 0)
	}
	if _, ok := inst.Grow(2); ok {
		t.Error("the host grew past the limit")
	}
	want(t, inst, 77, "poke", 77) // grows by one
	want(t, inst, 3, "size")
	if _, err := call(context.Background(), inst, "poke", 77); err == nil || errors.Is(err, engine.ErrMemory) {
		t.Errorf("a host function grew past the limit: %v", err)
	}
	want(t, inst, 3, "grow", 0)
	if _, err := s.compile(t, memoryModule(4, 5)).Instantiate(context.Background(), cfg); err == nil {
		t.Error("it began past the limit")
	}
}

func testDirty(t *testing.T, s *suite) {
	inst := s.instance(t, memoryModule(4, 8), pokes)
	mem := inst.Memory()
	if err := mem.Track(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(context.Background(), inst, "store", 3*linmem.PageSize+8, 5); err != nil {
		t.Fatal(err)
	}
	want(t, inst, 0, "load", 9*linmem.PageSize)
	var set linmem.PageSet
	if err := mem.Collect(&set); err != nil {
		t.Fatal(err)
	}
	if set.Len() != 1 || !set.Has(3) {
		t.Errorf("%d pages written, page 3: %t", set.Len(), set.Has(3))
	}
}
