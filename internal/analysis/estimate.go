package analysis

import "slices"

// The guesses behind the static weights. They are the usual heuristics of compilers without a profile: code
// that ends in a trap is cold, loops run ten times, a branch out of a loop is rarely taken. Only orders of
// magnitude matter: what is chosen by them is measured when it runs.
const (
	loopFactor    = 10
	maxLoopLevels = 6 // deeper levels count as one run
	rare          = 1.0 / 1024
)

// flags of an event, set by estimator.cold.
type flags uint8

const (
	coldNext flags = 1 << iota // what follows ends in a trap
	coldEnd                    // of a block: what follows its end does
	coldElse                   // of an if: the other arm does
	hasElse
)

// estimator holds the buffers of estimate.
type estimator struct {
	flow   []flowFrame
	nests  []nest   // Go: the loops around the code at hand
	heads  []uint32 // Go: the ends of blocks behind which loops begin
	resume []uint32 // Go: the block behind whose end each resume point lies
}

// flowFrame is an open block while the flow through it is computed.
type flowFrame struct {
	entry  float64 // how often it is entered
	in     float64 // how often its end is branched to
	other  float64 // if: how often the other arm is entered
	loop   int32   // flow index of the innermost loop, this included, or 0
	levels int     // loops around and including this
}

// nest is a loop in Go code, from the end of a block to the last jump back to it.
type nest struct {
	tail  int
	inner bool
}

// estimate walks the events of the function at hand twice. Backwards it finds the code that leads only to
// traps; forwards it follows the flow of control, one run of the function at the entry, and sums up
// instructions and calls by how often they run. It is linear in the number of events.
func (s *scanner) estimate(b *body) {
	if s.goStyle {
		s.goJumps(b)
	}
	b.traps = s.cold()
	s.forward(b)
}

// isCold reports whether a branch to a block leads to a trap.
func (s *scanner) isCold(block uint32) bool {
	e := &s.events[block]
	return e.kind != evLoop && e.flags&coldEnd != 0
}

// cold sets the flags of all events. It reports whether the first is cold.
func (s *scanner) cold() bool {
	cold := false
	for i := len(s.events) - 1; i >= 0; i-- {
		e := &s.events[i]
		switch e.kind {
		case evEnd:
			if open := &s.events[e.arg]; cold || s.goExit(e.arg) {
				open.flags |= coldEnd
			}
		case evElse:
			open := &s.events[e.arg]
			open.flags |= hasElse
			if cold {
				open.flags |= coldElse
			}
			cold = open.flags&coldEnd != 0
		case evIf:
			e.set(coldNext, cold)
			other := e.flags & coldElse
			if e.flags&hasElse == 0 {
				other = e.flags & coldEnd
			}
			e.set(coldElse, other != 0)
			cold = cold && other != 0
		case evBr:
			cold = s.isCold(e.arg)
		case evBrIf:
			e.set(coldNext, cold)
			cold = cold && s.isCold(e.arg)
		case evBrTable:
			cold = !slices.ContainsFunc(s.labels[e.lo:e.hi], func(l uint32) bool { return !s.isCold(l) })
		case evBack, evReturn, evTailCall:
			cold = false
		case evTrap:
			cold = true
		case evCall:
			e.set(coldNext, cold)
		}
	}
	return cold
}

func (e *event) set(f flags, on bool) {
	if on {
		e.flags |= f
	}
}

// taken guesses how often a conditional branch is taken: back says that it continues a loop, out that it
// leaves one, target and next whether the two ways are cold.
func taken(back, out, target, next bool) float64 {
	switch {
	case target && !next:
		return rare
	case next && !target:
		return 1 - rare
	case back:
		return 1 - 1.0/loopFactor
	case out:
		return 1.0 / loopFactor
	}
	return 0.5
}

// forward computes the flow. p is how often the code at hand runs for each run of the function.
func (s *scanner) forward(b *body) {
	p := 1.0
	s.flow, s.nests = s.flow[:0], s.nests[:0]
	for i := range s.events {
		e := &s.events[i]
		b.weight += float64(e.n) * p
		switch e.kind {
		case evBlock, evTry, evIf, evLoop:
			f := flowFrame{entry: p}
			if len(s.flow) > 0 {
				top := &s.flow[len(s.flow)-1]
				f.loop, f.levels = top.loop, top.levels
			}
			switch e.kind {
			case evLoop:
				f.loop = int32(len(s.flow))
				if f.levels++; f.levels <= maxLoopLevels && !s.goStyle {
					p *= loopFactor
				}
			case evIf:
				t := s.takenIf(i)
				if e.flags&hasElse == 0 {
					f.in = p * (1 - t)
				} else {
					f.other = p * (1 - t)
				}
				p *= t
			case evTry:
				for _, l := range s.labels[e.lo:e.hi] {
					s.branch(l, p*rare)
				}
			}
			s.flow = append(s.flow, f)
		case evElse:
			top := &s.flow[len(s.flow)-1]
			top.in += p
			p = top.other
		case evEnd:
			top := s.flow[len(s.flow)-1]
			s.flow = s.flow[:len(s.flow)-1]
			if p += top.in; p > top.entry && !s.goStyle {
				p = top.entry // what leaves a block has entered it
			}
			if s.goStyle {
				p = s.goHead(i, e, p)
			}
		case evBr:
			if s.goStyle {
				p *= s.goEnters(i, e.arg)
			}
			s.branch(e.arg, p)
			p = 0
		case evBrIf:
			back, out := s.backOut(e.arg)
			t := taken(back, out, s.isCold(e.arg), e.flags&coldNext != 0)
			s.branch(e.arg, p*t)
			p *= 1 - t
		case evBrTable:
			s.branchTable(e, p)
			p = 0
		case evBack:
			p = 0
			s.nests = slices.DeleteFunc(s.nests, func(n nest) bool { return n.tail <= i })
		case evReturn, evTrap:
			p = 0
		case evCall:
			s.calls[e.arg].freq += float32(p)
			if e.flags&coldNext == 0 || b.traps {
				s.calls[e.arg].warm = true
			}
		case evTailCall:
			s.calls[e.arg].freq += float32(p)
			s.calls[e.arg].warm = true
			p = 0
		}
	}
}

// branch adds flow to the end of a block.
func (s *scanner) branch(block uint32, p float64) {
	if e := &s.events[block]; e.kind != evLoop {
		s.flow[e.num].in += p
	}
}

// branchTable spreads the flow evenly over the targets that are not cold.
func (s *scanner) branchTable(e *event, p float64) {
	labels := s.labels[e.lo:e.hi]
	if s.goStyle && len(s.resume) > 0 && e.lo == 0 {
		labels = labels[:1] // the table of resume points: a run begins at the first
	}
	warm := 0
	for _, l := range labels {
		if !s.isCold(l) {
			warm++
		}
	}
	for _, l := range labels {
		switch {
		case warm == 0:
			s.branch(l, p/float64(len(labels)))
		case !s.isCold(l):
			s.branch(l, p/float64(warm))
		}
	}
}

// takenIf guesses how often the first arm of the if at event i runs. An arm that only branches counts as the branch.
func (s *scanner) takenIf(i int) float64 {
	e := &s.events[i]
	back, out := false, false
	if i+1 < len(s.events) {
		switch next := &s.events[i+1]; next.kind {
		case evBack:
			back = true
		case evBr:
			if s.goStyle {
				out = s.leavesNest(next.arg)
			} else {
				back, out = s.backOut(next.arg)
			}
		}
	}
	return taken(back, out, e.flags&coldNext != 0, e.flags&coldElse != 0)
}

// backOut reports whether a branch to a block continues the innermost loop or leaves it.
func (s *scanner) backOut(block uint32) (back, out bool) {
	e := &s.events[block]
	out = e.num < s.flow[len(s.flow)-1].loop
	return e.kind == evLoop && !out, out
}
