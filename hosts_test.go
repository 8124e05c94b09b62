package clonecloud_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud"
)

const (
	i32 = clonecloud.I32
	i64 = clonecloud.I64
)

func nothing(context.Context, *clonecloud.HostCall) error { return nil }

// TestHostFaults lists what is wrong with declarations, all of it at once.
func TestHostFaults(t *testing.T) {
	two := []clonecloud.ValueType{i32, i32}
	ranges := func(r ...clonecloud.Range) clonecloud.HostFunc {
		return clonecloud.HostFunc{Params: []clonecloud.ValueType{i32, i32, i64}, Ranges: r, Call: nothing}
	}
	for _, c := range []struct {
		name, module string
		f            clonecloud.HostFunc
		want         string
	}{
		{"wasi", "wasi_snapshot_preview1", clonecloud.HostFunc{Call: nothing}, `host module "wasi_snapshot_preview1" has a name that is taken`},
		{"ours", "clonecloud", clonecloud.HostFunc{Call: nothing}, `host module "clonecloud" has a name`},
		{"no_call", "app", clonecloud.HostFunc{}, "host function app.f: it has no Call"},
		{"type", "app", clonecloud.HostFunc{Params: []clonecloud.ValueType{0x7b}, Call: nothing}, "type 0x7b is no type"},
		{"many", "app", clonecloud.HostFunc{Params: make([]clonecloud.ValueType, 1000), Call: nothing}, "1000 parameters and 0 results, the limit is 999"},
		{"pinned", "app", clonecloud.HostFunc{Params: two, Pinned: true, Ranges: []clonecloud.Range{{Length: 1, Direction: clonecloud.In}}, Call: nothing}, "it is pinned and has ranges"},
		{"pointer", "app", ranges(clonecloud.Range{Pointer: 3, Length: 1, Direction: clonecloud.In}), "range 0: Pointer names parameter 3, which is no I32"},
		{"pointer_type", "app", ranges(clonecloud.Range{Pointer: 2, Length: 1, Direction: clonecloud.In}), "range 0: Pointer names parameter 2"},
		{"negative", "app", ranges(clonecloud.Range{Pointer: -1, Length: 1, Direction: clonecloud.In}), "range 0: Pointer names parameter -1"},
		{"length", "app", ranges(clonecloud.Range{Length: 1, Direction: clonecloud.In}, clonecloud.Range{Length: 2, Direction: clonecloud.In}), "range 1: Length names parameter 2"},
		{"no_length", "app", ranges(clonecloud.Range{Direction: clonecloud.In}), "set Length or Count"},
		{"two_lengths", "app", ranges(clonecloud.Range{Length: 1, Count: 1, Direction: clonecloud.In}), "both Count and Length"},
		{"direction", "app", ranges(clonecloud.Range{Length: 1}), "no direction 0"},
		{"ranges", "app", ranges(slices.Repeat([]clonecloud.Range{{Length: 1, Direction: clonecloud.In}}, 17)...), "17 ranges, the limit is 16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := clonecloud.Load(t.Context(), clonecloud.Config{
				Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{c.module: {"f": c.f}},
			})
			if !errors.Is(err, clonecloud.ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to mention %q", err, c.want)
			}
		})
	}
}

// TestImportFaults: what a module imports must be offered, as it wants it.
func TestImportFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(app clonecloud.HostModule)
		want  string
	}{
		"missing": {func(app clonecloud.HostModule) { delete(app, "price") },
			"import app.price: the module wants a function (i32) -> (i32) that nobody offers"},
		"params": {func(app clonecloud.HostModule) {
			app["price"] = clonecloud.HostFunc{Results: app["price"].Results, Call: nothing}
		},
			"import app.price: the module wants a function (i32) -> (i32), and Config.Hosts has one () -> (i32)"},
		"results": {func(app clonecloud.HostModule) {
			app["save"] = clonecloud.HostFunc{Params: app["save"].Params, Results: []clonecloud.ValueType{i64}, Call: nothing}
		}, "import app.save: the module wants a function (i32 i32) -> (), and Config.Hosts has one (i32 i32) -> (i64)"},
	} {
		t.Run(name, func(t *testing.T) {
			functions := app()
			c.spoil(functions)
			_, err := clonecloud.Load(t.Context(), clonecloud.Config{
				Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": functions},
			})
			if !errors.Is(err, clonecloud.ErrModule) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to mention %q", err, c.want)
			}
		})
	}
}

var errSoldOut = errors.New("sold out")

// spelled is lookup with a function of its own.
func spelled(f func(call *clonecloud.HostCall) error) clonecloud.HostFunc {
	h := lookup(nil)
	h.Call = func(_ context.Context, call *clonecloud.HostCall) error { return f(call) }
	return h
}

// TestHostForms calls host functions from the device and from a clone: results, memory and ends are the same.
func TestHostForms(t *testing.T) {
	for _, c := range []struct {
		name, function string
		args           []uint64
		lookup         func(call *clonecloud.HostCall) error
		end            string // part of the error; "": none
		is             error
		fallbacks      int // of the run with a clone
	}{
		{name: "in_and_out", function: "find", args: []uint64{4, 100}, lookup: func(call *clonecloud.HostCall) error {
			copy(call.Ranges[1], "answer to "+string(call.Ranges[0]))
			clear(call.Ranges[0]) // is a copy, and goes nowhere
			return nil
		}},
		{name: "overlap", function: "overlap", args: []uint64{50}, lookup: func(call *clonecloud.HostCall) error {
			for i, b := range call.Ranges[0] {
				call.Ranges[1][i] += b + 1
			}
			return nil
		}},
		{name: "cut_off", function: "find", args: []uint64{4, 100}, lookup: func(call *clonecloud.HostCall) error {
			call.Ranges[1] = call.Ranges[1][:copy(call.Ranges[1], "ab")]
			return nil
		}},
		{name: "empty", function: "find", args: []uint64{0, 0}, lookup: func(call *clonecloud.HostCall) error {
			call.SetI32(0, int32(len(call.Ranges[0])+len(call.Ranges[1])))
			return nil
		}},
		{name: "large", function: "find", args: []uint64{60_000, 5_000}, lookup: func(call *clonecloud.HostCall) error {
			copy(call.Ranges[1], call.Ranges[0])
			return nil
		}},
		{name: "outside", function: "far", lookup: func(*clonecloud.HostCall) error { return errors.New("was called") }, end: "out of bounds memory access"},
		{name: "outside_length", function: "big", args: []uint64{1 << 30}, lookup: func(*clonecloud.HostCall) error { return errors.New("was called") },
			end: "out of bounds memory access"},
		{name: "error", function: "find", args: []uint64{4, 100}, lookup: func(*clonecloud.HostCall) error { return errSoldOut },
			end: "host function app.lookup: sold out", is: errSoldOut},
		{name: "panic", function: "find", args: []uint64{4, 100}, lookup: func(*clonecloud.HostCall) error { panic("no more") },
			end: "host function app.lookup panicked: no more"},
		{name: "larger", function: "find", args: []uint64{4, 100}, lookup: func(call *clonecloud.HostCall) error {
			call.Ranges[1] = make([]byte, 101)
			return nil
		}, end: "host function app.lookup made its range 1 larger"},
		{name: "results", function: "find", args: []uint64{4, 100}, lookup: func(call *clonecloud.HostCall) error {
			call.Results = nil
			return nil
		}, end: "host function app.lookup gave 0 results, the guest wants 1"},
		// More than travels with one call: the function comes home.
		{name: "too_large", function: "big", args: []uint64{40 << 16}, lookup: func(call *clonecloud.HostCall) error {
			call.SetI32(0, int32(len(call.Ranges[0])))
			return nil
		}, fallbacks: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want string
			for _, forced := range []bool{false, true} {
				var functions []string
				if forced {
					functions = []string{c.function}
				}
				calls := 0
				offered := app()
				offered["lookup"] = spelled(func(call *clonecloud.HostCall) error {
					calls++
					return c.lookup(call)
				})
				p := start(t, clonecloud.Config{Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": offered}}, functions...)
				call(t, p, "grow", 50)
				room := uint32(call(t, p, "room"))
				if err := p.Write(room, []byte(strings.Repeat("key ", 1<<14))); err != nil {
					t.Fatal(err)
				}
				result, err := p.Call(t.Context(), c.function, c.args...)
				memory := make([]byte, 1<<16)
				if err == nil {
					if err := p.Read(room, memory); err != nil {
						t.Fatal(err)
					}
				}
				got := fmt.Sprintf("%v %d calls %x", result, calls, sum(memory, 1))
				if c.end == "" && err != nil || c.end != "" && (err == nil || !strings.Contains(err.Error(), c.end)) {
					t.Fatalf("forced=%t: error %v, want %q", forced, err, c.end)
				}
				if c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("forced=%t: error %v is not %v", forced, err, c.is)
				}
				var trap *clonecloud.Trap
				if errors.As(err, &trap) != (c.end == "out of bounds memory access") {
					t.Errorf("forced=%t: error %v", forced, err)
				}
				if err != nil {
					first, _, _ := strings.Cut(err.Error(), "\n") // behind a panic stands its stack
					got += first
				}
				if !forced {
					want = got
					continue
				}
				if got != want {
					t.Errorf("forced onto a clone:\n%s\nalone:\n%s", got, want)
				}
				r, err := p.Report()
				if err != nil {
					t.Fatal(err)
				}
				done, fallbacks := r.Offloads()
				if fallbacks != c.fallbacks || done == 0 && fallbacks == 0 && c.end == "" {
					t.Errorf("%d offloads and %d fallbacks: %+v", done, fallbacks, r.Functions)
				}
			}
		})
	}
}

// TestHostBusy: a host function cannot use the process that calls it.
func TestHostBusy(t *testing.T) {
	offered := app()
	var p *clonecloud.Process
	var errs []error
	offered["price"] = clonecloud.HostFunc{Params: []clonecloud.ValueType{i32}, Results: []clonecloud.ValueType{i32},
		Call: func(ctx context.Context, _ *clonecloud.HostCall) error {
			_, err := p.Call(ctx, "room")
			errs = append(errs, err, p.Write(0, []byte{1}))
			return nil
		}}
	p = start(t, clonecloud.Config{Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": offered}}, "total")
	call(t, p, "total", 1)
	if !slices.Equal(errs, []error{clonecloud.ErrBusy, clonecloud.ErrBusy}) {
		t.Errorf("got %v", errs)
	}
}

// TestHostAudit: what a clone gets from a host function is told, and counts as uploaded.
func TestHostAudit(t *testing.T) {
	var lines []string
	cfg := clonecloud.Config{
		Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": app()},
		Audit: func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) },
	}
	p := start(t, cfg, "total", "find")
	call(t, p, "total", 2)
	call(t, p, "find", 4, 100)
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "total: host function app.price for the clone, ") ||
		!strings.HasPrefix(lines[2], "find: host function app.lookup for the clone, ") {
		t.Errorf("told %q", lines)
	}

	offered := app()
	offered["lookup"] = spelled(func(*clonecloud.HostCall) error { return nil })
	cfg.Hosts, cfg.MaxUpload = map[string]clonecloud.HostModule{"app": offered}, 60_000 // the answer alone has as many
	p = start(t, cfg, "find")
	call(t, p, "find", 4, 60_000)
	r, err := p.Report()
	if err != nil || len(r.Functions) != 1 || r.Functions[0].Fallbacks["upload limit"] != 1 || r.LinkUp > 60_000 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPinned: what may call a pinned function stays, and may do with the memory what it wants.
func TestPinned(t *testing.T) {
	offered := app()
	var kept *clonecloud.Memory
	offered["save"] = clonecloud.HostFunc{Params: []clonecloud.ValueType{i32, i32}, Pinned: true, Call: func(_ context.Context, call *clonecloud.HostCall) error {
		kept = call.Memory
		if call.Memory.Size() < 1<<16 || len(call.Ranges) > 0 {
			t.Errorf("memory of %d bytes, %d ranges", call.Memory.Size(), len(call.Ranges))
		}
		if err := call.Memory.Read(uint32(call.Memory.Size()), make([]byte, 1)); !errors.Is(err, clonecloud.ErrBounds) {
			t.Errorf("reading beyond the memory: %v", err)
		}
		return call.Memory.Write(uint32(call.Params[0]), []byte("written"))
	}}
	p := start(t, clonecloud.Config{Module: wasm("hosts"), Hosts: map[string]clonecloud.HostModule{"app": offered}}, "keep", "total")
	room := uint32(call(t, p, "room"))
	if _, err := p.Call(t.Context(), "keep", 7); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if err := p.Read(room, got); err != nil || string(got) != "written" {
		t.Errorf("memory has %q, %v", got, err)
	}
	if kept.Size() != 0 || kept.Write(0, []byte{1}) == nil {
		t.Error("the memory can be used after the call")
	}
	call(t, p, "total", 1)
	r, err := p.Report()
	if err != nil || len(r.Functions) != 1 || r.Functions[0].Name != "total" || r.Functions[0].Offloads != 1 {
		t.Errorf("%+v, %v", r.Functions, err)
	}
}
