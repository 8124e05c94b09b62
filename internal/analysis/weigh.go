package analysis

import (
	"math"
	"slices"
)

// The assumed cost of calls that cannot be looked into, in instructions.
const (
	hostCall     = 20 // its time is the host's, and on a clone perhaps a trip home
	unknownCall  = 20
	maxWeight    = 1e15
	recursionFor = loopFactor // how often a recursive call comes round
)

// weights are the guesses by which candidates are chosen.
type weights struct {
	graph graph
	comps *components
	trans []float64 // instructions of one call, with all it calls
	share []float64 // by what candidates are ranked: instructions of all calls in one run, damped
	freq  []float64 // calls in one run, damped
	loops []bool    // runs a loop or recursion, here or below
	entry []bool    // is called from outside its component
	// called[f] says that the module itself calls f directly.
	called []bool
	// passes[f] says that a call of f does little but call one other function once, where the work is.
	passes []bool
}

func roundWeight(w float64) uint64 { return uint64(min(w, maxWeight) + 0.5) }

// weigh computes the weights and fills them in. Indirect calls count as the mean of their class, and only
// so: as edges they would make everything call everything.
func (p *program) weigh(r *Report) *weights {
	w := &weights{
		graph: p.directCalls(p.isDirect),
		trans: make([]float64, p.numFuncs),
		loops: make([]bool, p.numFuncs),
	}
	w.comps = findComponents(&w.graph)
	p.transitive(w, false)
	exact := slices.Clone(w.trans)
	p.transitive(w, true)
	p.shares(w)
	w.trans = exact
	calls := p.directCalls(func(_ uint32, c call) bool { return int(c.to) < p.numFuncs })
	for i := range r.Funcs {
		f := &r.Funcs[i]
		f.SCC = int(w.comps.of[i])
		f.Recursive = w.comps.cyclic(&w.graph, f.SCC)
		f.TransWeight = roundWeight(w.trans[i])
		f.Calls = calls.succ(f.Index)
	}
	return w
}

// transitive computes the transitive weights twice: the second time with a mean for each class of callees.
func (p *program) transitive(w *weights, damped bool) {
	class := make([]float64, len(p.classes))
	for i := range class {
		class[i] = unknownCall
	}
	p.sumUp(w, class, damped)
	for _, loose := range [2]bool{true, false} { // classes of tables may hold those of call_ref
		for i := range class {
			if p.classes[i].table < 0 == loose {
				class[i] = p.meanOf(w, i, class)
			}
		}
	}
	p.sumUp(w, class, damped)
}

// damp makes large weights count less in what calls them. A guess about a loop is wrong by some factor, and
// the errors of a long chain of calls multiply; undamped, every function near the root of a large program
// would seem to outweigh its hot code.
func damp(w float64) float64 {
	const knee = 1e5
	if w <= knee {
		return w
	}
	return math.Sqrt(w * knee)
}

func (p *program) meanOf(w *weights, class int, costs []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range p.classes[class].members {
		switch {
		case int(v) < p.numFuncs:
			sum += w.trans[v]
		case v >= p.classNode(0):
			sum += costs[v-p.classNode(0)]
		default:
			sum += hostCall
		}
		n++
	}
	return min(sum/float64(max(n, 1)), maxWeight)
}

// sumUp computes the transitive weights, callees first.
func (p *program) sumUp(w *weights, class []float64, damped bool) {
	w.passes = make([]bool, p.numFuncs)
	for i := range w.comps.len() {
		nodes := w.comps.nodes(i)
		cyclic := w.comps.cyclic(&w.graph, i)
		heaviest, loops := 0.0, cyclic
		for _, f := range nodes {
			if int(f) < p.numImports {
				w.trans[f] = hostCall
				continue
			}
			own, most := p.bodies[f].weight, 0.0
			loops = loops || p.bodies[f].loops.Count > 0
			for _, c := range p.callsOf(f) {
				cost := p.costOf(w, class, f, c, i)
				if damped {
					cost = damp(cost)
				}
				part := float64(c.freq) * cost
				own += part
				if c.freq <= 1.5 && int(c.to) < p.numFuncs && int(c.to) >= p.numImports {
					most = max(most, part)
				}
				loops = loops || int(c.to) < p.numFuncs && w.loops[c.to] && p.isDirect(f, c)
			}
			w.trans[f] = min(own, maxWeight)
			w.passes[f] = !cyclic && p.bodies[f].loops.Count == 0 && most >= 0.9*own
			heaviest = max(heaviest, own)
		}
		for _, f := range nodes {
			w.loops[f] = loops
			if cyclic {
				w.trans[f] = min(w.trans[f]+recursionFor*heaviest, maxWeight)
			}
		}
	}
}

// costOf is the assumed cost of one call from f, of component comp, along an edge.
func (p *program) costOf(w *weights, class []float64, f uint32, c call, comp int) float64 {
	switch to := c.to; {
	case to >= p.classNode(0):
		return class[to-p.classNode(0)]
	case int(to) >= p.numFuncs:
		return 0
	case int(to) < p.numImports:
		return hostCall
	case !p.isDirect(f, c):
		return unknownCall
	case int(w.comps.of[to]) == comp:
		return 0 // counted as recursion
	}
	return w.trans[c.to]
}

// shares follows the calls from the roots (exports, the start function, functions in tables, each taken to
// be called once) and multiplies how often a function is called by what a call costs.
func (p *program) shares(w *weights) {
	w.freq = make([]float64, p.numFuncs)
	freq := w.freq
	w.share = make([]float64, p.numFuncs)
	w.entry = make([]bool, p.numFuncs)
	w.called = make([]bool, p.numFuncs)
	for f := range p.numFuncs {
		if p.exported[f] || p.taken[f] || p.m.Start != nil && int(*p.m.Start) == f {
			freq[f], w.entry[f] = 1, true
		}
	}
	if p.goMade { // all functions are in its table: the roots are those that nothing calls directly
		for _, to := range w.graph.to {
			if !p.exported[to] {
				freq[to] = 0
			}
		}
	}
	for i := w.comps.len() - 1; i >= 0; i-- {
		inside := 0.0
		nodes := w.comps.nodes(i)
		for _, f := range nodes {
			w.share[f] = freq[f] * w.trans[f]
			inside += freq[f]
		}
		cyclic := w.comps.cyclic(&w.graph, i)
		for _, f := range nodes {
			from := freq[f]
			if cyclic {
				from = inside * recursionFor
			}
			from = damp(from)
			if p.goMade && !goLibrary(p.names[f]) {
				// what the program is about, more likely than its library
				w.share[f] *= loopFactor
				w.freq[f] *= loopFactor
			}
			for _, c := range p.callsOf(f) {
				if int(c.to) < p.numFuncs {
					w.called[c.to] = true
				}
				if p.isDirect(f, c) && int(w.comps.of[c.to]) != i {
					freq[c.to] += from * float64(c.freq)
					w.entry[c.to] = true
				}
			}
		}
	}
}
