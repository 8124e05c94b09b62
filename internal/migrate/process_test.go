package migrate_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

var (
	//go:embed testdata/process.wasm
	processWasm []byte
	//go:embed testdata/bare.wasm
	bareWasm []byte
)

// start makes an instance of a module with one candidate, function work.
func start(t *testing.T, bin []byte, opt rewrite.Options) *migrate.Process {
	t.Helper()
	eng, err := wazero.New(wazero.Options{Mode: wazero.Interpreter})
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	prog, err := migrate.Prepare(ctx, eng, migrate.Identity(bin), m, opt)
	if err != nil {
		t.Fatal(err)
	}
	hosts := migrate.Hosts{"host": {"add": {Call: func(_ context.Context, c *migrate.HostCall) error {
		c.Results[0] = c.Params[0] + c.Params[1]
		return nil
	}}}}
	w := &wasi.Process{State: wasi.NewState([]string{"prog"}, []string{"A=b"}, [32]byte{1})}
	w.System = hosts.System(wasi.NewClocks(true))
	p, err := prog.Start(ctx, migrate.Linkage{WASI: w, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Inst.Close(ctx), prog.Close(ctx), eng.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return p
}

func startWork(t *testing.T) *migrate.Process {
	return start(t, processWasm, rewrite.Options{Candidates: []uint32{2}})
}

// run calls an export.
func run(t *testing.T, p *migrate.Process, name string, args ...uint64) uint64 {
	t.Helper()
	stack := append(args, 0)
	if err := p.Inst.Func(name).Call(t.Context(), stack); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return stack[0]
}

func capture(t *testing.T, p *migrate.Process, base delta.ID) *wire.Image {
	t.Helper()
	img, err := p.Capture(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// mail carries messages as they travel.
type mail struct {
	t     *testing.T
	queue []wire.Message
}

func (m *mail) send(msg wire.Message) error {
	f, err := wire.Encode(1, 0, msg)
	if err != nil {
		m.t.Fatal(err)
	}
	_, msg, err = wire.Decode(f)
	if err != nil {
		m.t.Fatal(err)
	}
	m.queue = append(m.queue, msg)
	return nil
}

var errEmpty = errors.New("no more messages")

func (m *mail) next() (wire.Message, error) {
	if len(m.queue) == 0 {
		return nil, errEmpty
	}
	msg := m.queue[0]
	m.queue = m.queue[1:]
	return msg, nil
}

// move brings to the state of from, whose changed pages are given. It returns the state's id on both sides.
func move(t *testing.T, from, to *migrate.Process, base delta.ID, pages *linmem.PageSet, staged bool) delta.ID {
	t.Helper()
	a := migrate.Attempt{Offload: 3, Number: 1}
	img := capture(t, from, base)
	m := &mail{t: t}
	id, stats, err := migrate.SendPages(from, a, img, pages, delta.Options{Compress: true}, m.send)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Check(img); err != nil {
		t.Fatal(err)
	}
	w := &wasi.State{}
	if err := w.UnmarshalBinary(img.WASI); err != nil {
		t.Fatal(err)
	}
	lim := delta.Limits{MaxPages: uint32(pages.Len())}
	var s *migrate.Staged
	if staged {
		if s, err = migrate.Stage(a, img, lim, m.next); err == nil {
			err = to.Grow(img)
		}
		if err == nil {
			s.Apply(to.Mem.Bytes())
		}
	} else if err = to.Grow(img); err == nil {
		s, err = migrate.ReceiveInto(to.Mem.Bytes(), a, img, lim, m.next)
	}
	if err == nil {
		err = to.Apply(t.Context(), img, w)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.Next != id || s.Bytes != stats.Bytes || s.Len() != pages.Len() || !slices.Equal(slices.Collect(s.Pages()), slices.Collect(pages.All())) {
		t.Errorf("arrived %d pages in %d bytes as %v, sent %d in %d as %v", s.Len(), s.Bytes, s.Next, pages.Len(), stats.Bytes, id)
	}
	return id
}

func same(t *testing.T, a, b *migrate.Process) {
	t.Helper()
	if d := cmp.Diff(capture(t, a, delta.ID{}), capture(t, b, delta.ID{})); d != "" {
		t.Errorf("states differ: %s", d)
	}
	if (a.Mem == nil) != (b.Mem == nil) || a.Mem != nil && !bytes.Equal(a.Mem.Bytes(), b.Mem.Bytes()) {
		t.Error("memories differ")
	}
}

// TestMove sends a process to and fro between two instances, which stay the same, whether or not each of them has an
// initial memory of its own.
func TestMove(t *testing.T) {
	for _, shared := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("%t-%t", shared[0], shared[1]), func(t *testing.T) {
			opt := rewrite.Options{Candidates: []uint32{2}}
			opt.Detach = shared[0]
			a := start(t, processWasm, opt)
			opt.Detach = shared[1]
			testMove(t, a, start(t, processWasm, opt))
		})
	}
}

func testMove(t *testing.T, a, b *migrate.Process) {
	same(t, a, b)
	base := migrate.InitialID(a.Manifest.Digest)
	for i, step := range []func(p *migrate.Process){
		func(p *migrate.Process) {},
		func(p *migrate.Process) { run(t, p, "work", 41) },
		func(p *migrate.Process) { run(t, p, "grow", 2); run(t, p, "work", 1) },
		func(p *migrate.Process) { run(t, p, "drop"); p.WASI.State.Rand.Uint64(); p.WASI.State.Clocks[0]++ },
		func(p *migrate.Process) { run(t, p, "work", 9); clear(p.Mem.Bytes()[8192:12288]) },
	} {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		if err := errors.Join(from.Mem.Forget(), to.Mem.Forget()); err != nil {
			t.Fatal(err)
		}
		step(from)
		pages := &linmem.PageSet{}
		if err := from.Mem.Collect(pages); err != nil {
			t.Fatal(err)
		}
		next := move(t, from, to, base, pages, i%2 == 1)
		if next == base {
			t.Error("the state's id did not change")
		}
		base = next
		same(t, a, b)
	}
	if got := run(t, b, "add", 40, 2); got != 42 {
		t.Errorf("host function answers %d", got)
	}
	if err := b.Inst.Func("init").Call(t.Context(), make([]uint64, 1)); err == nil {
		t.Error("the dropped segment is there")
	}
	run(t, b, "init_other")
}

// TestCheck makes images that are no later state of the process.
func TestCheck(t *testing.T) {
	p := startWork(t)
	run(t, p, "drop")
	for _, c := range []struct {
		name  string
		spoil func(s *wire.Image)
	}{
		{"good", nil},
		{"grown", func(s *wire.Image) { s.MemoryBytes = 8 << 16 }},
		{"more_dropped", func(s *wire.Image) { s.Dropped = []uint32{1, 2} }},
		{"global_missing", func(s *wire.Image) { s.Globals = s.Globals[1:] }},
		{"global_more", func(s *wire.Image) { s.Globals = append(s.Globals, wire.Global{Index: 9, Type: 0x7f}) }},
		{"global_index", func(s *wire.Image) { s.Globals[1].Index = 1 }},
		{"global_type", func(s *wire.Image) { s.Globals[0].Type = 0x7e }},
		{"global_i32", func(s *wire.Image) { s.Globals[0].Lo = 1 << 32 }},
		{"global_f32", func(s *wire.Image) { s.Globals[2].Lo = 1 << 32 }},
		{"global_hi", func(s *wire.Image) { s.Globals[1].Hi = 1 }},
		{"dropped_immutable", func(s *wire.Image) { s.Dropped = []uint32{0, 1} }},
		{"dropped_unknown", func(s *wire.Image) { s.Dropped = []uint32{1, 77} }},
		{"dropped_twice", func(s *wire.Image) { s.Dropped = []uint32{1, 1} }},
		{"undropped", func(s *wire.Image) { s.Dropped = nil }},
		{"memory_odd", func(s *wire.Image) { s.MemoryBytes += 4096 }},
		{"memory_shrunk", func(s *wire.Image) { s.MemoryBytes = 1 << 16 }},
		{"memory_past_maximum", func(s *wire.Image) { s.MemoryBytes = 9 << 16 }},
		{"memory_huge", func(s *wire.Image) { s.MemoryBytes = 1 << 63 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := capture(t, p, delta.ID{1})
			bad := c.spoil != nil && c.name != "grown" && c.name != "more_dropped"
			if c.spoil != nil {
				c.spoil(s)
			}
			if err := p.Check(s); errors.Is(err, migrate.ErrBadState) != bad || !bad && err != nil {
				t.Errorf("check: %v", err)
			}
		})
	}
	s := capture(t, p, delta.ID{})
	s.MemoryBytes = 9 << 16
	if err := p.Grow(s); err == nil || p.MemBytes() != 2<<16 {
		t.Errorf("grow past the maximum: %v, now %d bytes", err, p.MemBytes())
	}
	bare := start(t, bareWasm, rewrite.Options{})
	if err := bare.Check(&wire.Image{MemoryBytes: 1 << 16}); !errors.Is(err, migrate.ErrBadState) {
		t.Errorf("memory for a module without: %v", err)
	}
	if err := bare.Check(&wire.Image{}); err != nil {
		t.Errorf("nothing for a module of nothing: %v", err)
	}
}

// TestBind gives an instance a manifest that is not its own.
func TestBind(t *testing.T) {
	p := startWork(t)
	for _, c := range []struct {
		name  string
		spoil func(m *rewrite.Manifest)
	}{
		{"global", func(m *rewrite.Manifest) { m.Globals[0].Export = "x" }},
		{"vector", func(m *rewrite.Manifest) { m.Vectors[0].Set = "x" }},
		{"segment", func(m *rewrite.Manifest) { m.Segments[0].Drop = "x" }},
		{"body", func(m *rewrite.Manifest) { m.Candidates[0].Body = "x" }},
		{"arm", func(m *rewrite.Manifest) { m.Candidates[0].Arm = "x" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := *p.Manifest
			m.Globals, m.Vectors = slices.Clone(m.Globals), slices.Clone(m.Vectors)
			m.Segments, m.Candidates = slices.Clone(m.Segments), slices.Clone(m.Candidates)
			c.spoil(&m)
			if _, err := migrate.Bind(p.Inst, &m, p.WASI); err == nil {
				t.Error("bound")
			}
		})
	}
}

// TestNextID changes each part of a state in turn: each must count.
func TestNextID(t *testing.T) {
	p := startWork(t)
	seen := map[delta.ID]int{}
	add := func(what int, img *wire.Image, digest [32]byte) {
		id := migrate.NextID(img, digest)
		if other, ok := seen[id]; ok {
			t.Errorf("states %d and %d have the same id", other, what)
		}
		seen[id] = what
	}
	for i, change := range []func(*wire.Image){
		func(*wire.Image) {},
		func(s *wire.Image) { s.Base[0]++ },
		func(s *wire.Image) { s.MemoryBytes++ },
		func(s *wire.Image) { s.Globals[0].Lo++ },
		func(s *wire.Image) { s.Globals[4].Hi++ },
		func(s *wire.Image) { s.Globals[0].Index++ },
		func(s *wire.Image) { s.Dropped = []uint32{1} },
		func(s *wire.Image) { s.WASI[len(s.WASI)-1]++ },
	} {
		img := capture(t, p, delta.ID{})
		change(img)
		add(i, img, [32]byte{})
	}
	add(100, capture(t, p, delta.ID{}), [32]byte{1})
}

// TestHosts calls a host function as the guest cannot.
func TestHosts(t *testing.T) {
	p := startWork(t)
	for name, req := range map[string]wasi.Request{
		"unknown": {Op: migrate.OpHost, Path: "host", Path2: "sub", Data: make([]byte, 16), Size: 1},
		"odd":     {Op: migrate.OpHost, Path: "host", Path2: "add", Data: make([]byte, 15), Size: 1},
		"many":    {Op: migrate.OpHost, Path: "host", Path2: "add", Data: make([]byte, 16), Size: 1 << 40},
	} {
		if err := p.WASI.System.Do(t.Context(), &req, &wasi.Response{}); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
}

// TestCheckHost judges calls of host functions that come from a clone.
func TestCheckHost(t *testing.T) {
	p := startWork(t)
	good := wasi.Request{Op: migrate.OpHost, Path: "host", Path2: "add", Data: make([]byte, 16), Size: 1}
	for _, c := range []struct {
		name  string
		spoil func(r *wasi.Request)
	}{
		{"good", func(*wasi.Request) {}},
		{"module", func(r *wasi.Request) { r.Path = "wasi_snapshot_preview1" }},
		{"name", func(r *wasi.Request) { r.Path2 = "sub" }},
		{"few", func(r *wasi.Request) { r.Data = r.Data[:8] }},
		{"odd", func(r *wasi.Request) { r.Data = r.Data[:15] }},
		{"more", func(r *wasi.Request) { r.Data = make([]byte, 24) }},
		{"results", func(r *wasi.Request) { r.Size = 2 }},
		{"no_results", func(r *wasi.Request) { r.Size = 0 }},
		{"range", func(r *wasi.Request) { r.Data[4] = 1 }},
	} {
		req := good
		req.Data = slices.Clone(good.Data)
		c.spoil(&req)
		if err := p.CheckHost(&req); (err == nil) != (c.name == "good") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
