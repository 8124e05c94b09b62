package analysis

import (
	"fmt"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// The import modules of WASI preview 1 and of its predecessor.
const (
	wasiPreview1 = "wasi_snapshot_preview1"
	wasiUnstable = "wasi_unstable"
)

// Names that rewriting adds to a module.
const privateName = "clonecloud"

func pinAllButWASI(module, _ string) string {
	if module == wasiPreview1 || module == wasiUnstable {
		return ""
	}
	return "the application that embeds the program has not declared it"
}

// stay gives the reason for which the whole module stays on the device, or "".
func (p *program) stay() string {
	m := p.m
	for i := range m.Imports {
		im := &m.Imports[i]
		name := im.Module + "." + im.Name
		if im.Module == privateName {
			return fmt.Sprintf("it imports %s, a name that is kept for rewritten modules", name)
		}
		switch im.Kind {
		case wasm.ExternTable:
			return fmt.Sprintf("it imports the table %s, which belongs to others", name)
		case wasm.ExternMemory:
			return fmt.Sprintf("it imports the memory %s, which belongs to others", name)
		case wasm.ExternTag:
			return fmt.Sprintf("it imports the exception tag %s, which a clone would not have", name)
		case wasm.ExternGlobal:
			if im.Global.Mutable {
				return fmt.Sprintf("it imports the mutable global %s, which belongs to others", name)
			}
			if im.Global.Type.IsRef() {
				return fmt.Sprintf("it imports the global %s, which holds a reference", name)
			}
		}
	}
	for i := range m.Exports {
		e := &m.Exports[i]
		if strings.HasPrefix(e.Name, privateName+":") {
			return fmt.Sprintf("it exports %q, a name that is kept for rewritten modules", e.Name)
		}
		if e.Kind == wasm.ExternGlobal && p.refGlobal(e.Index) && p.globals[e.Index].Mutable {
			return fmt.Sprintf("it exports global %d, a reference that others may change", e.Index)
		}
	}
	if mems := m.MemoryTypes(); len(mems) > 1 {
		return fmt.Sprintf("it has %d memories", len(mems))
	} else if len(mems) == 1 && mems[0].Shared {
		return "its memory is shared between threads"
	} else if len(mems) == 1 && mems[0].Is64 {
		return "its memory has 64-bit addresses"
	}
	for i, t := range p.tables {
		if t.mutated {
			return fmt.Sprintf("it changes table %d while it runs, and a table cannot be captured", i)
		}
	}
	for i, t := range m.Tables {
		if t.Is64 {
			return fmt.Sprintf("table %d has 64-bit indices", i)
		}
	}
	if p.refSet >= 0 {
		return fmt.Sprintf("global %d holds a reference that changes, and a reference cannot be captured", p.refSet)
	}
	return ""
}

// judge decides for each function whether it may move, and fills in what it reaches.
func (p *program) judge(r *Report) error {
	comps := findComponents(&p.full)
	sets := reachable(&p.full, comps, p.numImports)
	escaping := p.escapes(comps)
	kept, err := p.findAll(p.opt.KeepLocal)
	if err != nil {
		return fmt.Errorf("keep local: %w", err)
	}
	causes := p.causes(kept)
	reached := firstCause(&p.full, comps, causes)
	whole := "the whole module stays: " + r.Stay
	words := make(map[uint32]string)
	signatures := make([]string, len(p.m.Types))
	for i := range signatures {
		signatures[i] = whySignature(&p.m.Types[i])
	}
	for i := range r.Funcs {
		f := &r.Funcs[i]
		c := comps.of[i]
		f.Imports = sets[c]
		switch {
		case f.Imported:
			f.Why = "it is imported"
		case r.Stay != "":
			f.Why = whole
		case kept[f.Index]:
			f.Why = "it is kept local on request"
		case signatures[f.Type] != "":
			f.Why = signatures[f.Type]
		case reached[c] != noCause:
			w, ok := words[reached[c]]
			if !ok {
				w = "it reaches " + causes[reached[c]]
				words[reached[c]] = w
			}
			f.Why = w
		case escaping[i] != 0:
			f.Why = "an exception may leave it"
		default:
			f.May = true
		}
	}
	return nil
}

// causes gives, by node, why code that may reach it stays on the device.
func (p *program) causes(kept map[uint32]bool) map[uint32]string {
	pinned := p.opt.Pinned
	if pinned == nil {
		pinned = pinAllButWASI
	}
	causes := map[uint32]string{
		p.outsideTable(): "a table that is exported, where other modules may put functions of theirs",
		p.outsideRef():   "functions by references that may come from other modules",
	}
	f := uint32(0)
	for i := range p.m.Imports {
		im := &p.m.Imports[i]
		if im.Kind != wasm.ExternFunc {
			continue
		}
		t := &p.m.Types[im.Type]
		why := pinned(im.Module, im.Name)
		switch {
		case why != "":
		case hasRefs(t.Params) || hasRefs(t.Results):
			why = "its signature has references"
		case hasVectors(t.Params) || hasVectors(t.Results):
			why = "its signature has vectors"
		}
		if why != "" {
			causes[f] = fmt.Sprintf("%s: %s", p.names[f], why)
		}
		f++
	}
	for f := range kept {
		name := p.names[f]
		if name == "" {
			name = fmt.Sprintf("function %d", f)
		}
		causes[f] = name + ", which is kept local on request"
	}
	return causes
}

// maxValues is what engines allow of parameters and of results, less the status of a call that travels.
const maxValues = 999

// whySignature says why no function of a type can be carried to another machine, or "".
func whySignature(t *wasm.FuncType) string {
	switch {
	case hasRefs(t.Params) || hasRefs(t.Results):
		return "its signature has references, which mean nothing on another machine"
	case values(t.Params) > maxValues || values(t.Results) > maxValues:
		return "its signature has too many values"
	}
	return ""
}

// values counts 64-bit slots.
func values(ts []wasm.ValType) int {
	n := len(ts)
	for _, t := range ts {
		if t.Kind == wasm.V128 {
			n++
		}
	}
	return n
}

func hasVectors(ts []wasm.ValType) bool {
	for _, t := range ts {
		if t.Kind == wasm.V128 {
			return true
		}
	}
	return false
}

const noCause = ^uint32(0)

// firstCause gives, by component, the lowest node among the causes that it reaches, or noCause.
func firstCause(g *graph, c *components, causes map[uint32]string) []uint32 {
	first := make([]uint32, c.len())
	for i := range first {
		first[i] = noCause
		for _, v := range c.nodes(i) {
			if _, ok := causes[v]; ok {
				first[i] = min(first[i], v)
			}
			for _, w := range g.succ(v) {
				if int(c.of[w]) != i {
					first[i] = min(first[i], first[c.of[w]])
				}
			}
		}
	}
	return first
}
