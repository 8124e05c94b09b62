package migrate_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// The imports of testdata/plugin/hosts.wasm: price (i32) -> (i32); lookup (key, n, to, room i32) -> (i32); scale (numbers,
// count i32); save (what, n i32).
func plugin(t testing.TB) *wasm.Module {
	t.Helper()
	bin, err := os.ReadFile("../../testdata/plugin/hosts.wasm")
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// app offers what the plug-in imports; lookup gives back what it gets.
func app() migrate.Hosts {
	none := func(context.Context, *migrate.HostCall) error { return nil }
	return migrate.Hosts{"app": {
		"price": {Call: none},
		"lookup": {Call: func(_ context.Context, c *migrate.HostCall) error {
			n := copy(c.Ranges[1], c.Ranges[0])
			c.Ranges[1] = c.Ranges[1][:n]
			c.SetI32(0, int32(n))
			return nil
		}, Ranges: []wire.HostRange{
			{Pointer: 0, Length: 1, Size: 1, Direction: wire.DirIn}, {Pointer: 2, Length: 3, Size: 1, Direction: wire.DirOut},
		}},
		"scale": {Call: none, Ranges: []wire.HostRange{{Length: 1, Size: 8, Direction: wire.DirInOut}}},
		"save":  {Call: none, Pinned: true},
	}}
}

// startPlugin makes a process of it.
func startPlugin(t testing.TB, limit uint64) (*migrate.Process, migrate.Hosts) {
	t.Helper()
	m, hosts, ctx := plugin(t), app(), context.Background()
	eng, err := wazero.New(wazero.Options{Mode: wazero.Interpreter})
	if err != nil {
		t.Fatal(err)
	}
	prog, err := migrate.Plain(ctx, eng, wire.ID{}, m, m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	w := &wasi.Process{State: wasi.NewState(nil, nil, [32]byte{}), System: hosts.System(wasi.NewClocks(true))}
	p, err := prog.Start(ctx, migrate.Linkage{WASI: w, Hosts: hosts, MaxHost: limit})
	if err != nil {
		t.Fatal(err)
	}
	p.Mem = p.Inst.Memory() // as that of rewritten code
	t.Cleanup(func() {
		if err := errors.Join(p.Inst.Close(ctx), prog.Close(ctx), eng.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return p, hosts
}

func slots(v ...uint64) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

// TestCheckHostRanges judges calls with ranges that come from a clone.
func TestCheckHostRanges(t *testing.T) {
	p, _ := startPlugin(t, 0)
	size := p.Mem.Max()
	request := func(name string, results uint64, in int, params ...uint64) wasi.Request {
		return wasi.Request{Op: migrate.OpHost, Path: "app", Path2: name, Size: results, Flags: uint64(len(params)), Data: append(slots(params...), make([]byte, in)...)}
	}
	unflagged := request("lookup", 1, 5, 0, 5, 0, 9)
	unflagged.Flags = 0
	for name, c := range map[string]struct {
		req wasi.Request
		ok  bool
	}{
		"good":          {request("lookup", 1, 5, 0, 5, 0, 9), true},
		"empty":         {request("lookup", 1, 0, 0, 0, 0, 0), true},
		"at_end":        {request("lookup", 1, 5, size-5, 5, size, 0), true},
		"elements":      {request("scale", 0, 24, 8, 3), true},
		"most":          {request("lookup", 1, wasi.MaxIO-32, 0, wasi.MaxIO-32, 0, 9), true},
		"few_bytes":     {request("lookup", 1, 4, 0, 5, 0, 9), false},
		"more_bytes":    {request("lookup", 1, 6, 0, 5, 0, 9), false},
		"part_element":  {request("scale", 0, 23, 8, 3), false},
		"beyond":        {request("lookup", 1, 5, size-4, 5, 0, 9), false},
		"beyond_out":    {request("lookup", 1, 5, 0, 5, size, 1), false},
		"wide":          {request("lookup", 1, 5, 1<<32, 5, 0, 9), false},
		"much":          {request("lookup", 1, wasi.MaxIO, 0, wasi.MaxIO, 0, 9), false},
		"much_out":      {request("lookup", 1, 5, 0, 5, 0, wasi.MaxIO), false},
		"product":       {request("scale", 0, 8, 0, 1<<32-1), false},
		"results":       {request("lookup", 2, 5, 0, 5, 0, 9), false},
		"few_params":    {request("lookup", 1, 0, 0, 5, 0), false},
		"unflagged":     {unflagged, false},
		"pinned":        {request("save", 0, 0, 0, 5), false},
		"value_flagged": {request("price", 1, 0, 1), false},
	} {
		if err := p.CheckHost(&c.req); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok { // what is let through is carried out
			if err := p.WASI.System.Do(t.Context(), &c.req, &wasi.Response{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// liar answers host calls with what suits no call.
type liar struct{ data []byte }

func (l liar) Do(_ context.Context, _ *wasi.Request, resp *wasi.Response) error {
	resp.Data = l.data
	return nil
}

// TestWrongHostAnswers: an answer that does not suit the call writes nothing.
func TestWrongHostAnswers(t *testing.T) {
	p, _ := startPlugin(t, 0)
	mem := p.Mem.Bytes()
	room := call1(t, p, "room")
	for name, c := range map[string]struct {
		data []byte
		ok   bool
	}{
		"good":        {append(slots(3), 3, 0, 0, 0, 'a', 'b', 'c'), true},
		"short":       {append(slots(3), 2, 0, 0, 0, 'a', 'b'), true},
		"nothing":     {nil, false},
		"no_range":    {slots(3), false},
		"part":        {append(slots(3), 3, 0, 0), false},
		"less":        {append(slots(3), 3, 0, 0, 0, 'a', 'b'), false},
		"more":        {append(slots(3), 3, 0, 0, 0, 'a', 'b', 'c', 'd'), false},
		"larger":      {append(slots(3), 5, 0, 0, 0, 'a', 'b', 'c', 'd', 'e'), false},
		"much_larger": {append(slots(3), 255, 255, 255, 255, 'a'), false},
	} {
		clear(mem[room:][:16])
		p.WASI.System = liar{c.data}
		stack := []uint64{4, 4}
		err := p.Inst.Func("find").Call(t.Context(), stack)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if written := slices.ContainsFunc(mem[room:][:16], func(b byte) bool { return b != 0 }); written != c.ok {
			t.Errorf("%s: memory is %q", name, mem[room:][:16])
		}
	}
}

func call1(t *testing.T, p *migrate.Process, name string, args ...uint64) uint64 {
	t.Helper()
	stack := append(args, 0)
	if err := p.Inst.Func(name).Call(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	return stack[0]
}

// TestHostLimit: what does not travel in one call ends the run, before anybody is called.
func TestHostLimit(t *testing.T) {
	p, _ := startPlugin(t, 100)
	for n, ok := range map[uint64]bool{10: true, 68: true, 69: false, 1000: false} {
		err := p.Inst.Func("find").Call(t.Context(), []uint64{n, 0})
		if (err == nil) != ok || !ok && !errors.Is(err, migrate.ErrHostLimit) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	err := p.Inst.Func("far").Call(t.Context(), []uint64{0})
	var trap *engine.Trap
	if !errors.As(err, &trap) || trap.Kind != engine.TrapMemoryBounds {
		t.Errorf("a range outside: %v", err)
	}
}

// TestHostsOf: what a device declares must suit the module.
func TestHostsOf(t *testing.T) {
	m := plugin(t)
	all := app().RangesOf(m)
	if len(all) != 3 {
		t.Fatalf("ranges %+v", all)
	}
	if h, err := migrate.HostsOf(m, all); err != nil || len(h["app"]["lookup"].Ranges) != 2 || len(h["app"]["scale"].Ranges) != 1 || !h.Has("app", "price") {
		t.Errorf("%+v, %v", h, err)
	}
	for name, spoil := range map[string]func(r *wire.HostRange){
		"no import": func(r *wire.HostRange) { r.Func = 4 },
		"parameter": func(r *wire.HostRange) { r.Pointer = 2 },
		"length":    func(r *wire.HostRange) { r.Length = 4 },
	} {
		ranges := slices.Clone(all)
		spoil(&ranges[2])
		if _, err := migrate.HostsOf(m, ranges); !errors.Is(err, migrate.ErrRanges) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.Memories = nil
	if _, err := migrate.HostsOf(m, all); !errors.Is(err, migrate.ErrRanges) || !strings.Contains(err.Error(), "no memory") {
		t.Errorf("without a memory: %v", err)
	}
}

// TestCloneCode: another declaration is other code.
func TestCloneCode(t *testing.T) {
	r := []wire.HostRange{{Func: 1, Pointer: 2, Length: 3, Size: 5, Direction: wire.DirIn}}
	seen := map[wire.ID]bool{
		migrate.CloneCode(wire.ID{1}, []uint32{1}, 0, nil): true, migrate.CloneCode(wire.ID{1}, []uint32{1}, 0, r): true,
	}
	for _, change := range []func(r *wire.HostRange){
		func(r *wire.HostRange) { r.Func++ }, func(r *wire.HostRange) { r.Pointer++ }, func(r *wire.HostRange) { r.Length++ },
		func(r *wire.HostRange) { r.Count++ }, func(r *wire.HostRange) { r.Size++ }, func(r *wire.HostRange) { r.Direction++ },
	} {
		other := slices.Clone(r)
		change(&other[0])
		seen[migrate.CloneCode(wire.ID{1}, []uint32{1}, 0, other)] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d identities of 8 kinds of code", len(seen))
	}
}

// FuzzCheckHost: what is let through is carried out without a fault, and its answer fits a message.
func FuzzCheckHost(f *testing.F) {
	p, hosts := startPlugin(f, 0)
	f.Add("lookup", uint64(1), uint64(4), append(slots(0, 5, 0, 9), "abcde"...))
	f.Add("scale", uint64(0), uint64(2), append(slots(8, 1), make([]byte, 8)...))
	f.Add("price", uint64(1), uint64(0), slots(1))
	f.Add("save", uint64(0), uint64(0), slots(1, 2))
	system := hosts.System(wasi.NewClocks(true))
	f.Fuzz(func(t *testing.T, name string, results, flags uint64, data []byte) {
		req := wasi.Request{Op: migrate.OpHost, Path: "app", Path2: name, Size: results, Flags: flags, Data: data}
		checked := p.CheckHost(&req)
		before := slices.Clone(data)
		if checked != nil {
			return
		}
		var resp wasi.Response
		err := system.Do(t.Context(), &req, &resp)
		if err != nil || len(resp.Data) > wasi.MaxIO {
			t.Fatalf("%d bytes, %v", len(resp.Data), err)
		}
		if !slices.Equal(before, data) {
			t.Fatal("the request has changed")
		}
	})
}
