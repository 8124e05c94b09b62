package analysis

// graph is a directed graph in compressed rows: the successors of v are to[off[v]:off[v+1]].
type graph struct {
	off []uint32
	to  []uint32
}

func (g *graph) len() int { return len(g.off) - 1 }

func (g *graph) succ(v uint32) []uint32 { return g.to[g.off[v]:g.off[v+1]] }

// components are the strongly connected components of a graph, numbered callees first: an edge leads
// from a component to itself or to one with a smaller number. That order makes every bottom-up
// computation one pass over the numbers.
type components struct {
	of      []uint32 // component of each node
	off     []uint32 // members of c are members[off[c]:off[c+1]]
	members []uint32
}

func (c *components) len() int { return len(c.off) - 1 }

func (c *components) nodes(i int) []uint32 { return c.members[c.off[i]:c.off[i+1]] }

// cyclic reports whether component i holds a cycle: several nodes, or one with an edge to itself.
func (c *components) cyclic(g *graph, i int) bool {
	m := c.nodes(i)
	if len(m) > 1 {
		return true
	}
	for _, w := range g.succ(m[0]) {
		if w == m[0] {
			return true
		}
	}
	return false
}

// findComponents is Tarjan's algorithm with its recursion on a slice: call chains of generated code are
// as deep as the module is large.
func findComponents(g *graph) *components {
	const unseen = ^uint32(0)
	n := g.len()
	type frame struct{ v, edge uint32 }
	var (
		num   = make([]uint32, n) // visiting number
		low   = make([]uint32, n)
		c     = &components{of: make([]uint32, n), off: []uint32{0}, members: make([]uint32, 0, n)}
		stack []uint32
		calls []frame
		next  uint32
	)
	for i := range num {
		num[i], c.of[i] = unseen, unseen
	}
	for root := range uint32(n) {
		if num[root] != unseen {
			continue
		}
		calls = append(calls, frame{root, g.off[root]})
		num[root], low[root] = next, next
		next++
		stack = append(stack, root)
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			if f.edge < g.off[f.v+1] {
				w := g.to[f.edge]
				f.edge++
				switch {
				case num[w] == unseen:
					num[w], low[w] = next, next
					next++
					stack = append(stack, w)
					calls = append(calls, frame{w, g.off[w]})
				case c.of[w] == unseen: // still on the stack
					low[f.v] = min(low[f.v], num[w])
				}
				continue
			}
			v := f.v
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				p := calls[len(calls)-1].v
				low[p] = min(low[p], low[v])
			}
			if low[v] != num[v] {
				continue
			}
			id := uint32(c.len())
			for {
				w := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				c.of[w] = id
				c.members = append(c.members, w)
				if w == v {
					break
				}
			}
			c.off = append(c.off, uint32(len(c.members)))
		}
	}
	return c
}
