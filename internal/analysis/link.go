package analysis

import (
	"cmp"
	"slices"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// scan reads all bodies.
func (p *program) scan() error {
	s := scanner{p: p, last: make([]uint32, p.numFuncs+2)}
	p.bodies = make([]body, p.numFuncs)
	p.first = make([]uint32, p.numFuncs+1)
	for i := range p.m.Funcs {
		f := p.numImports + i
		s.goStyle = p.goMade && isGoFunc(p.m.Types[p.types[f]])
		var err error
		if p.bodies[f], err = s.read(uint32(f), &p.m.Funcs[i].Body); err != nil {
			return err
		}
		p.first[f+1] = uint32(len(s.calls))
	}
	p.calls, p.caught = s.calls, s.caught
	return nil
}

func (p *program) callsOf(f uint32) []call { return p.calls[p.first[f]:p.first[f+1]] }

// link finds the members of the classes and builds the graph.
func (p *program) link() {
	p.fillClasses()
	n := p.numFuncs + 2 + len(p.classes)
	size := len(p.calls)
	for i := range p.classes {
		size += len(p.classes[i].members)
	}
	p.full = graph{off: make([]uint32, 1, n+1), to: make([]uint32, 0, size)}
	for f := range uint32(p.numFuncs) {
		for _, c := range p.callsOf(f) {
			p.full.to = append(p.full.to, c.to)
		}
		p.full.off = append(p.full.off, uint32(len(p.full.to)))
	}
	p.full.off = append(p.full.off, uint32(len(p.full.to)), uint32(len(p.full.to)))
	for i := range p.classes {
		p.full.to = append(p.full.to, p.classes[i].members...)
		p.full.off = append(p.full.off, uint32(len(p.full.to)))
	}
}

// fillClasses finds the members of the classes. A table that nobody changes holds what its segments say;
// through any other, a call reaches whatever a reference may name.
func (p *program) fillClasses() {
	for i := range len(p.classes) {
		c := &p.classes[i]
		if c.table < 0 || !p.tables[c.table].loose() {
			continue
		}
		open := p.tables[c.table].open
		members := []uint32{p.looseClass(c.key)} // moves p.classes
		if open {
			members = append(members, p.outsideTable())
		}
		p.classes[i].members = members
	}
	for f := range uint32(p.numFuncs) {
		if p.taken[f] || p.exported[f] && p.outerRefs {
			p.addMember(classKey{-1, p.keys[p.types[f]]}, f)
		}
	}
	if p.outerRefs {
		for i := range p.classes {
			if c := &p.classes[i]; c.table < 0 {
				c.members = append(c.members, p.outsideRef())
			}
		}
	}
	seen := make([]uint32, p.numFuncs)
	for t := range p.tables {
		if p.tables[t].loose() {
			continue
		}
		for _, f := range p.tables[t].funcs {
			if seen[f] != uint32(t)+1 {
				seen[f] = uint32(t) + 1
				p.addMember(classKey{int64(t), p.keys[p.types[f]]}, f)
			}
		}
	}
}

// addMember adds a function to a class if some call needs that class.
func (p *program) addMember(k classKey, f uint32) {
	if i, ok := p.classOf[k]; ok {
		p.classes[i].members = append(p.classes[i].members, f)
	}
}

// escapes gives, for each node, the exception tags that may leave it.
func (p *program) escapes(c *components) []uint64 {
	out := make([]uint64, p.full.len())
	thrown := false
	for f := range p.bodies {
		out[f] = p.bodies[f].throws
		thrown = thrown || out[f] != 0
	}
	if !thrown {
		return out
	}
	// Tags only ever join, and calls of one component hand them round. Nodes stand callees first as far as
	// that goes, so a few rounds settle it; a component that takes more is taken to let out what any of it does.
	const rounds = 64
	for i := range c.len() {
		nodes := c.nodes(i)
		settled := false
		for n := 0; n < rounds && !settled; n++ {
			settled = true
			for _, v := range nodes {
				was := out[v]
				p.escapeFrom(out, v)
				settled = settled && out[v] == was
			}
			settled = settled || len(nodes) == 1
		}
		if settled {
			continue
		}
		all := uint64(0)
		for _, v := range nodes {
			all |= out[v]
		}
		for _, v := range nodes {
			out[v] = all
		}
	}
	return out
}

// escapeFrom adds to out[v] what escapes from what v calls.
func (p *program) escapeFrom(out []uint64, v uint32) {
	for k, e := p.full.off[v], p.full.off[v+1]; k < e; k++ {
		tags := out[p.full.to[k]]
		if p.caught != nil && int(v) < p.numFuncs {
			tags &^= p.caught[k]
		}
		out[v] |= tags
	}
}

// directCalls is the graph of the direct calls that count. Indirect calls would join most of a program into
// one component, since a type says little, and so would the reporting of panics; so weights, and the
// components in which calls go straight to bodies, are those of this graph.
func (p *program) directCalls(counts func(f uint32, c call) bool) graph {
	g := graph{off: make([]uint32, 1, p.numFuncs+1), to: make([]uint32, 0, len(p.calls))}
	for f := range uint32(p.numFuncs) {
		for _, c := range p.callsOf(f) {
			if counts(f, c) {
				g.to = append(g.to, c.to)
			}
		}
		slices.Sort(g.to[g.off[f]:])
		g.off = append(g.off, uint32(len(g.to)))
	}
	return g
}

// isDirect reports whether an edge is a direct call that counts. In a Go program those of the runtime do not:
// every function calls it, and it calls back.
func (p *program) isDirect(f uint32, c call) bool {
	return int(c.to) < p.numFuncs && c.warm && (!p.goMade || !p.goRuntime[c.to] && !p.goRuntime[f])
}

// readNames names functions by the name section, else by their shortest export, imports by what they import.
func (p *program) readNames() {
	p.names = make([]string, p.numFuncs)
	if n, _ := p.m.Names(); n != nil {
		for _, e := range n.Funcs {
			if int64(e.Index) < int64(p.numFuncs) {
				p.names[e.Index] = e.Name
			}
		}
	}
	exports := map[uint32]string{}
	for i := range p.m.Exports {
		e := &p.m.Exports[i]
		if e.Kind != wasm.ExternFunc || p.names[e.Index] != "" {
			continue
		}
		old, ok := exports[e.Index]
		if !ok || cmp.Or(cmp.Compare(len(e.Name), len(old)), cmp.Compare(e.Name, old)) < 0 {
			exports[e.Index] = e.Name
		}
	}
	for f, name := range exports {
		p.names[f] = name
	}
	f := 0
	for i := range p.m.Imports {
		if im := &p.m.Imports[i]; im.Kind == wasm.ExternFunc {
			p.names[f] = im.Module + "." + im.Name
			f++
		}
	}
	if !p.goMade {
		return
	}
	p.goRuntime = make([]bool, p.numFuncs)
	for f := range p.names {
		p.goRuntime[f] = f < p.numImports || goRuntime(p.names[f]) || !isGoFunc(p.m.Types[p.types[f]])
	}
}
