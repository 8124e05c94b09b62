package analysis

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// closure says by brute force which nodes reach which, each itself included.
func closure(g *graph) [][]bool {
	n := g.len()
	r := make([][]bool, n)
	for v := range r {
		r[v] = make([]bool, n)
		r[v][v] = true
		for _, w := range g.succ(uint32(v)) {
			r[v][w] = true
		}
	}
	for k := range n {
		for i := range n {
			for j := range n {
				r[i][j] = r[i][j] || r[i][k] && r[k][j]
			}
		}
	}
	return r
}

func makeGraph(succ [][]uint32) *graph {
	g := &graph{off: []uint32{0}}
	for _, s := range succ {
		g.to = append(g.to, s...)
		g.off = append(g.off, uint32(len(g.to)))
	}
	return g
}

func TestGraphAgainstClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 90).Draw(t, "nodes")
		node := rapid.Uint32Range(0, uint32(n-1))
		succ := make([][]uint32, n)
		for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
			v := node.Draw(t, "from")
			succ[v] = append(succ[v], node.Draw(t, "to"))
		}
		g := makeGraph(succ)
		reach := closure(g)
		c := findComponents(g)
		for v := range n {
			for w := range n {
				if together := c.of[v] == c.of[w]; together != (reach[v][w] && reach[w][v]) {
					t.Fatalf("nodes %d and %d: in one component %v, reach %v and %v", v, w, together, reach[v][w], reach[w][v])
				}
			}
			for _, w := range succ[v] {
				if c.of[w] > c.of[v] {
					t.Fatalf("edge %d -> %d leads from component %d up to %d", v, w, c.of[v], c.of[w])
				}
			}
			if !slices.Contains(c.nodes(int(c.of[v])), uint32(v)) {
				t.Fatalf("component %d does not list node %d", c.of[v], v)
			}
			onCycle := slices.ContainsFunc(succ[v], func(w uint32) bool { return reach[w][v] })
			if c.cyclic(g, int(c.of[v])) != onCycle {
				t.Fatalf("node %d: on a cycle %v", v, onCycle)
			}
		}
		limit := rapid.IntRange(0, n).Draw(t, "limit")
		causes := map[uint32]string{node.Draw(t, "cause"): "one", node.Draw(t, "cause"): "two"}
		sets, first := reachable(g, c, limit), firstCause(g, c, causes)
		for v := range n {
			want := noCause
			for w := range n {
				if got := sets[c.of[v]].Has(uint32(w)); got != (w < limit && reach[v][w]) {
					t.Fatalf("set of node %d has %d: %v", v, w, got)
				}
				if _, ok := causes[uint32(w)]; ok && reach[v][w] {
					want = min(want, uint32(w))
				}
			}
			if first[c.of[v]] != want {
				t.Fatalf("cause of node %d: %d, want %d", v, first[c.of[v]], want)
			}
			if got := slices.Collect(sets[c.of[v]].All()); len(got) != sets[c.of[v]].Len() || !slices.IsSorted(got) {
				t.Fatalf("members of the set of node %d: %v", v, got)
			}
		}
	})
}

func TestDeepGraph(t *testing.T) {
	const n = 100_000
	for name, last := range map[string][]uint32{"chain": nil, "ring": {0}} {
		succ := make([][]uint32, n)
		for v := range n - 1 {
			succ[v] = []uint32{uint32(v + 1)}
		}
		succ[n-1] = last
		g := makeGraph(succ)
		c := findComponents(g)
		want := n
		if last != nil {
			want = 1
		}
		if c.len() != want {
			t.Errorf("%s: %d components, want %d", name, c.len(), want)
		}
	}
}

// A chain in which every function calls an import of its own has as many sets as functions.
func TestSetsAreBounded(t *testing.T) {
	const n = 20_000
	g := &graph{off: []uint32{0}}
	for range n { // imports
		g.off = append(g.off, 0)
	}
	for v := range uint32(n) {
		g.to = append(g.to, v)
		if v > 0 {
			g.to = append(g.to, n+v-1)
		}
		g.off = append(g.off, uint32(len(g.to)))
	}
	c := findComponents(g)
	sets := reachable(g, c, n)
	distinct := map[*uint64]bool{}
	for _, s := range sets {
		distinct[&s.words[0]] = true
	}
	if words := len(distinct) * (n + 63) / 64; words > maxSetWords+n {
		t.Errorf("%d words of sets", words)
	}
	for v := range uint32(n) {
		for _, w := range []uint32{0, v / 2, v} {
			if !sets[c.of[n+v]].Has(w) {
				t.Fatalf("function %d does not reach import %d", v, w)
			}
		}
	}
}

// TestModulesAgainstNaive makes modules with calls of all kinds and compares what is reached, and which tags
// escape, with a fixed point over single calls.
func TestModulesAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type site struct {
			targets []uint32
			caught  uint64
		}
		var m module
		for range 3 {
			m.Tags = append(m.Tags, m.typ(nil, nil))
		}
		imports := rapid.IntRange(1, 3).Draw(t, "imports")
		for i := range imports {
			m.imp(wasi, string(rune('a'+i)), nil, nil)
		}
		n := rapid.IntRange(1, 20).Draw(t, "functions")
		total := uint32(imports + n)
		anyFunc := rapid.Uint32Range(0, total-1)
		tables := [][]uint32{rapid.SliceOfN(anyFunc, 0, 4).Draw(t, "table 0"), rapid.SliceOfN(anyFunc, 0, 4).Draw(t, "table 1")}
		sites, throws := make([][]site, total), make([]uint64, total)
		for f := uint32(imports); f < total; f++ {
			var code [][]byte
			for range rapid.IntRange(0, 4).Draw(t, "sites") {
				var (
					s    site
					c    []byte
					tail = rapid.Bool().Draw(t, "tail")
				)
				switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); kind {
				case 0:
					to := anyFunc.Draw(t, "to")
					s.targets = []uint32{to}
					c = index(wasm.OpCall, to)
					if tail {
						c = index(wasm.OpReturnCall, to)
					}
				case 1, 2:
					s.targets = tables[kind-1]
					op := wasm.OpCallIndirect
					if tail {
						op = wasm.OpReturnCallIndirect
					}
					c = append(konst(0), index(op, m.typ(nil, nil), uint32(kind-1))...)
				case 3:
					tail = false
					tag := rapid.Uint32Range(0, 2).Draw(t, "tag")
					s.caught = tagBit(tag) << 32 // a throw, see below
					c = index(wasm.OpThrow, tag)
				}
				thrown := s.caught >> 32
				s.caught = 0
				for range rapid.IntRange(0, 2).Draw(t, "handlers") {
					k := rapid.Uint32Range(0, 3).Draw(t, "handler")
					clause := wasm.Catch{Kind: wasm.CatchTag, Tag: k}
					tags := tagBit(k)
					if k == 3 {
						clause, tags = wasm.Catch{Kind: wasm.CatchAll}, allTags
					}
					if !tail {
						s.caught |= tags
					}
					c = tryTable([]wasm.Catch{clause}, c)
				}
				throws[f] |= thrown &^ s.caught
				sites[f] = append(sites[f], s)
				code = append(code, block(wasm.OpBlock, c))
			}
			m.fn("f", nil, nil, code...)
		}
		for _, fs := range tables {
			m.table(fs...)
		}

		reach, escape := make([]uint64, total), slices.Clone(throws)
		for f := range uint32(imports) {
			reach[f] = 1 << f
		}
		for changed := true; changed; {
			changed = false
			for f := range total {
				was, wasEscape := reach[f], escape[f]
				for _, s := range sites[f] {
					for _, to := range s.targets {
						reach[f] |= reach[to]
						escape[f] |= escape[to] &^ s.caught
					}
				}
				changed = changed || reach[f] != was || escape[f] != wasEscape
			}
		}
		d, err := wasm.Decode(m.Encode())
		if err != nil {
			t.Fatal(err)
		}
		r, err := Analyze(d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for f := range total {
			got := uint64(0)
			for i := range r.Funcs[f].Imports.All() {
				got |= 1 << i
			}
			if got != reach[f] {
				t.Errorf("function %d reaches imports %b, want %b", f, got, reach[f])
			}
			if want := escape[f] == 0; f >= uint32(imports) && r.Funcs[f].May != want {
				t.Errorf("function %d may move %v (%s), tags that escape %b", f, r.Funcs[f].May, r.Funcs[f].Why, escape[f])
			}
		}
	})
}
