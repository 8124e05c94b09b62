package rewrite

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// customs keeps the custom sections that still hold for the new module.
func (b *builder) customs() {
	b.out.Customs = make([]wasm.Custom, 0, len(b.in.Customs))
	named := false
	for _, c := range b.in.Customs {
		switch {
		case c.Name == wasm.NameSection && (b.opt.StripDebug || named), holdsOffsets(c.Name):
			continue
		case c.Name == wasm.NameSection:
			c.Data, named = b.newNames().AppendTo(nil), true
		}
		b.out.Customs = append(b.out.Customs, c)
	}
}

// holdsOffsets reports whether a custom section speaks of places in the code or of indices, which have moved, or
// points to a description of the original.
func holdsOffsets(name string) bool {
	return strings.HasPrefix(name, ".debug_") || strings.HasPrefix(name, "reloc.") || name == "linking" ||
		strings.HasPrefix(name, "metadata.code.") || name == "sourceMappingURL" || name == "external_debug_info"
}

// digest is the identity of the code. Of the components only what the rewriter asks them counts: which other
// functions are together with a candidate.
func (b *builder) digest() [32]byte {
	h := sha256.New()
	h.Write(b.opt.Source[:])
	buf := binary.AppendUvarint(nil, Version)
	for _, flag := range []bool{b.opt.Wrap, b.opt.CanonicalNaN, b.opt.StripDebug, b.opt.Detach} {
		if flag {
			buf = append(buf, 1)
		} else {
			buf = append(buf, 0)
		}
	}
	buf = binary.AppendUvarint(append(buf, byte(b.opt.Poll)), uint64(len(b.ids)))
	first := map[int]uint32{} // component to its first candidate
	for _, f := range b.ids {
		buf = binary.AppendUvarint(buf, uint64(f))
		if s := b.component(f); s >= 0 {
			if _, ok := first[s]; !ok {
				first[s] = f
			}
		}
	}
	if b.opt.Wrap {
		for f := range b.sig {
			if c, ok := first[b.component(uint32(f))]; ok {
				buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(f)), uint64(c))
			}
		}
	}
	h.Write(buf)
	return [32]byte(h.Sum(nil))
}

// newNames are the names for the new index space. The names of a candidate's locals go with its body.
func (b *builder) newNames() *wasm.Names {
	n := *b.names
	n.Funcs = make([]wasm.Naming, 0, len(b.names.Funcs)+len(b.added))
	for _, f := range b.names.Funcs {
		if exists(f.Index, b.sig) {
			n.Funcs = append(n.Funcs, wasm.Naming{Index: b.moved(f.Index), Name: f.Name})
		}
	}
	n.Funcs = append(n.Funcs, b.added...)
	slices.SortStableFunc(n.Funcs, func(a, c wasm.Naming) int { return cmp.Compare(a.Index, c.Index) })
	n.Locals = b.withBodies(b.names.Locals)
	n.Labels = nil
	if b.opt.Poll == PollNone && !b.opt.CanonicalNaN { // both add blocks, which count
		n.Labels = b.withBodies(b.names.Labels)
	}
	return &n
}

// withBodies moves names that belong to function bodies.
func (b *builder) withBodies(list []wasm.LocalNaming) []wasm.LocalNaming {
	out := make([]wasm.LocalNaming, 0, len(list))
	for _, l := range list {
		if !exists(l.Index, b.sig) {
			continue
		}
		to := b.moved(l.Index)
		if id := b.id[l.Index]; id >= 0 {
			to = b.body(int(id))
		}
		out = append(out, wasm.LocalNaming{Index: to, Names: l.Names})
	}
	slices.SortStableFunc(out, func(a, c wasm.LocalNaming) int { return cmp.Compare(a.Index, c.Index) })
	return out
}
