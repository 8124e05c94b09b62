package rewrite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// data adds a data segment at the value of an expression.
func (k *maker) data(mode wasm.SegmentMode, init string, offset ...any) {
	d := wasm.Data{Mode: mode, Init: []byte(init)}
	if mode == wasm.Active {
		d.Offset = code(append(offset, wasm.OpEnd)...)
	}
	k.Data = append(k.Data, d)
}

// Segments are detached where that surely makes no difference, all of them or none.
func TestDetachWhen(t *testing.T) {
	const last = int64(1<<16 - 3)
	good := func(k *maker) { k.data(wasm.Active, "good", wasm.OpI32Const, int64(1)) }
	for name, c := range map[string]struct {
		build func(k *maker)
		want  []rewrite.Piece
	}{
		"none":   {func(*maker) {}, nil},
		"in-all": {good, []rewrite.Piece{{Offset: 1, Data: []byte("good")}}},
		"edges": {func(k *maker) {
			k.data(wasm.Active, "abc", wasm.OpI32Const, last)
			k.data(wasm.Active, "", wasm.OpI32Const, int64(1<<16))
			k.data(wasm.Passive, "passive")
			good(k)
		}, []rewrite.Piece{{uint64(last), []byte("abc")}, {1 << 16, []byte{}}, {1, []byte("good")}}},
		"beyond":          {func(k *maker) { good(k); k.data(wasm.Active, "abcd", wasm.OpI32Const, last) }, nil},
		"beyond-and-none": {func(k *maker) { good(k); k.data(wasm.Active, "", wasm.OpI32Const, int64(1<<16+1)) }, nil},
		"negative":        {func(k *maker) { good(k); k.data(wasm.Active, "", wasm.OpI32Const, int64(-1)) }, nil},
		"sum": {func(k *maker) {
			k.data(wasm.Active, "x", wasm.OpI32Const, int64(-2), wasm.OpI32Const, int64(3), wasm.OpI32Mul,
				wasm.OpI32Const, int64(10), wasm.OpI32Add, wasm.OpI32Const, int64(1), wasm.OpI32Sub)
		}, []rewrite.Piece{{3, []byte("x")}}},
		"global": {func(k *maker) {
			good(k)
			k.Imports = append(k.Imports, wasm.Import{Module: "m", Name: "g", Kind: wasm.ExternGlobal,
				Global: wasm.GlobalType{Type: wasm.ValType{Kind: wasm.I32}}})
			k.data(wasm.Active, "x", wasm.OpGlobalGet, 0)
		}, nil},
		"empty-memory": {func(k *maker) { good(k); k.Memories[0].Min = 0 }, nil},
		"no-memory":    {func(k *maker) { good(k); k.Memories = nil }, nil},
		// These are invalid, and stay so.
		"short":   {func(k *maker) { k.data(wasm.Active, "x", wasm.OpI32Const, int64(1), wasm.OpI32Add) }, nil},
		"long":    {func(k *maker) { k.data(wasm.Active, "x", wasm.OpI32Const, int64(1), wasm.OpI32Const, int64(1)) }, nil},
		"nothing": {func(k *maker) { k.data(wasm.Active, "x") }, nil},
		"wide":    {func(k *maker) { k.data(wasm.Active, "x", wasm.OpI64Const, int64(1)) }, nil},
		"memory-1": {func(k *maker) {
			good(k)
			k.Data[0].Memory = 1
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var k maker
			k.memory()
			c.build(&k)
			res, err := rewrite.Rewrite(&k.Module, rewrite.Options{Detach: true})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, res.Manifest.Image); diff != "" {
				t.Errorf("image (-want +got):\n%s", diff)
			}
			plain, err := rewrite.Rewrite(&k.Module, rewrite.Options{})
			if err != nil || plain.Manifest.Image != nil {
				t.Errorf("detached without being asked: %v", err)
			}
			if same := bytes.Equal(plain.Binary, res.Binary); same != (c.want == nil) {
				t.Errorf("nothing of the code was changed: %t", same)
			}
		})
	}
}

// An active segment is of no use to code once it has been applied, detached or not, whatever the engine makes of it.
func TestActiveSegmentsAreSpent(t *testing.T) {
	var k maker
	k.memory()
	k.data(wasm.Active, "abc", wasm.OpI32Const, int64(8))
	k.data(wasm.Passive, "xyz")
	k.HasDataCount = true
	k.fn("active", "iii", "", "", wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpLocalGet, 2, wasm.OpMemoryInit, 0, byte(0))
	k.fn("passive", "iii", "", "", wasm.OpLocalGet, 0, wasm.OpLocalGet, 1, wasm.OpLocalGet, 2, wasm.OpMemoryInit, 1, byte(0))
	k.fn("drop", "", "", "", wasm.OpDataDrop, 0)
	for _, detach := range []bool{false, true} {
		p := k.run(t, mode{opt: rewrite.Options{Candidates: []uint32{}, Detach: detach}})
		if (p.detached == 1) != detach || len(p.man.Segments) != 1 {
			t.Errorf("%d detached, %d may be dropped", p.detached, len(p.man.Segments))
		}
		for _, c := range []struct {
			name string
			args []uint64
			trap bool
		}{
			{"active", u(0, 0, 0), false}, {"active", u(0, 0, 1), true}, {"active", u(0, 1, 0), true},
			{"active", u(1<<16, 0, 0), false}, {"active", u(1<<16+1, 0, 0), true},
			{"drop", nil, false}, {"active", u(0, 0, 0), false}, {"active", u(0, 1, 0), true}, {"drop", nil, false},
			{"passive", u(0, 1, 2), false}, {"passive", u(0, 1, 3), true},
		} {
			if _, err := p.mod.ExportedFunction(c.name).Call(p.ctx, c.args...); (err != nil) != c.trap {
				t.Errorf("detach %t: %s%v: %v", detach, c.name, c.args, err)
			}
		}
		if b, _ := p.mod.Memory().Read(0, 12); string(b) != "yz\x00\x00\x00\x00\x00\x00abc\x00" {
			t.Errorf("detach %t: memory %q", detach, b)
		}
	}
	for _, op := range [][]any{{wasm.OpDataDrop, 2}, {wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpI32Const, 0, wasm.OpMemoryInit, 2, byte(0)}} {
		bad := maker{k.Module}
		bad.Funcs = slices.Clip(bad.Funcs)
		bad.fn("", "", "", "", op...)
		if _, err := rewrite.Rewrite(&bad.Module, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), "data segment 2 at offset") {
			t.Errorf("%v: %v", op[0], err)
		}
	}
}

// Segments that the code cannot name are gone, the others keep their index.
func TestDetachedIndices(t *testing.T) {
	for name, c := range map[string]struct {
		build func(k *maker)
		want  []string // what is left of each
	}{
		"all-active": {func(k *maker) {}, nil},
		"passive":    {func(k *maker) { k.data(wasm.Passive, "xyz"); k.data(wasm.Active, "c", wasm.OpI32Const, 0) }, []string{"", "", "xyz"}},
		"dropped":    {func(k *maker) { k.fn("", "", "", "", wasm.OpDataDrop, 0) }, []string{"", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var k maker
			k.memory()
			k.HasDataCount = true
			k.data(wasm.Active, "a", wasm.OpI32Const, 0)
			k.data(wasm.Active, "b", wasm.OpI32Const, 0)
			c.build(&k)
			m, man := k.rewritten(t, rewrite.Options{Detach: true})
			var left []string
			for _, d := range m.Data {
				left = append(left, string(d.Init))
			}
			if diff := cmp.Diff(c.want, left); diff != "" || len(man.Image) < 2 || !m.HasDataCount {
				t.Errorf("%d pieces, segments (-want +got):\n%s", len(man.Image), diff)
			}
		})
	}
}

// checkImage compares what a manifest wants in the memory with what an engine puts there. It tells whether there was
// anything to compare.
func checkImage(t *testing.T, m *wasm.Module, man *rewrite.Manifest) bool {
	t.Helper()
	if len(man.Image) == 0 || m.Memories[0].Min > 1024 {
		return false
	}
	alone := wasm.Module{Memories: m.Memories, Exports: []wasm.Export{{Name: "m", Kind: wasm.ExternMemory}}}
	for _, d := range m.Data {
		if d.Mode == wasm.Active {
			alone.Data = append(alone.Data, d)
		}
	}
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer r.Close(t.Context())
	mod, err := r.Instantiate(t.Context(), alone.Encode())
	if err != nil {
		t.Fatalf("detached what an engine refuses: %v", err)
	}
	want, _ := mod.Memory().Read(0, mod.Memory().Size())
	got := make([]byte, len(want))
	for _, p := range man.Image {
		copy(got[p.Offset:][:len(p.Data)], p.Data)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the image differs from what an engine makes")
	}
	return true
}

// Of real modules the image is what an engine makes of them, and nothing of it is left in the code.
func TestDetachRealModules(t *testing.T) {
	files, bins := modules(t)
	for _, pattern := range []string{"../../bench/programs/*.wasm", "../../examples/*/*.wasm"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range more {
			bin, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			files, bins = append(files, file), append(bins, bin)
		}
	}
	files, bins = append(files, "a program in Go"), append(bins, goProgram(t))
	compared, large := 0, 0
	for i, bin := range bins {
		m, err := wasm.Decode(bin)
		if err != nil || len(m.Data) == 0 {
			continue
		}
		res, err := rewrite.Rewrite(m, rewrite.Options{Detach: true})
		if err != nil || len(res.Manifest.Image) == 0 {
			continue
		}
		if !checkImage(t, m, &res.Manifest) {
			continue
		}
		compared++
		total := 0
		for _, p := range res.Manifest.Image {
			total += len(p.Data)
		}
		if total > 1000 {
			large++
		}
		out, err := wasm.Decode(res.Binary)
		if err != nil {
			t.Fatalf("%s: %v", files[i], err)
		}
		if len(out.Data) > len(m.Data)+1 || out.HasDataCount != m.HasDataCount {
			t.Errorf("%s: %d data segments, before %d", files[i], len(out.Data), len(m.Data))
		}
		for _, d := range out.Data {
			if d.Mode == wasm.Active {
				t.Errorf("%s: an active segment is left", files[i])
			}
		}
	}
	t.Logf("%d images compared, %d of them of more than 1000 bytes", compared, large)
	if compared < 100 || large < 15 {
		t.Error("too few modules")
	}
}
