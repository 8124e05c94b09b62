package rewrite_test

import (
	"errors"
	"regexp"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func asStay(err error, stay **rewrite.StayError) bool { return errors.As(err, stay) }

var particular = regexp.MustCompile(`( in function|, "|\d).*`)

// general leaves out of a reason what is particular to a module.
func general(reason string) string { return particular.ReplaceAllString(reason, " …") }

// components numbers the strongly connected components of the graph of direct calls, by Tarjan's algorithm.
func components(m *wasm.Module) []int {
	first, n := m.NumImportedFuncs(), m.NumFuncs()
	calls := make([][]uint32, n)
	for i := range m.Funcs {
		var in wasm.Instr
		for r := m.Funcs[i].Body.Reader(); r.Next(&in); {
			if (in.Op == wasm.OpCall || in.Op == wasm.OpReturnCall) && int(in.Index) < n {
				calls[first+i] = append(calls[first+i], in.Index)
			}
		}
	}
	scc, low, order := make([]int, n), make([]int, n), make([]int, n)
	var stack []uint32
	next, count := 0, 0
	var visit func(f uint32)
	visit = func(f uint32) {
		next++
		low[f], order[f], scc[f] = next, next, -1
		stack = append(stack, f)
		for _, g := range calls[f] {
			if order[g] == 0 {
				visit(g)
			}
			if scc[g] < 0 {
				low[f] = min(low[f], low[g])
			}
		}
		for low[f] == order[f] {
			g := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if scc[g] = count; g == f {
				count++
				break
			}
		}
	}
	for f := range calls {
		if order[f] == 0 {
			visit(uint32(f))
		}
	}
	return scc
}
