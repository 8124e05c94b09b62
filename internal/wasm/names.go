package wasm

import (
	"slices"
	"sort"
)

// NameSection is the name of the custom section that Names reads.
const NameSection = "name"

// Naming gives a name to an index.
type Naming struct {
	Index uint32
	Name  string
}

// LocalNaming names the locals (or labels, or fields) of one function (or type).
type LocalNaming struct {
	Index uint32
	Names []Naming
}

// Names is a decoded name section. Lists are sorted by index. Names of fields, which belong to types that this package
// does not know, are dropped.
type Names struct {
	Module    string
	HasModule bool
	Funcs     []Naming
	Locals    []LocalNaming
	Labels    []LocalNaming
	Types     []Naming
	Tables    []Naming
	Memories  []Naming
	Globals   []Naming
	Elems     []Naming
	Data      []Naming
	Tags      []Naming
}

// The ids of subsections.
const (
	namesModule = iota
	namesFuncs
	namesLocals
	namesLabels
	namesTypes
	namesTables
	namesMemories
	namesGlobals
	namesElems
	namesData
	namesFields // dropped
	namesTags
)

// Names decodes the first name section; without one it returns empty names. A name section that is malformed is no
// fault of the module: what stands before the fault is returned with the error.
func (m *Module) Names() (*Names, error) {
	n := &Names{}
	i := slices.IndexFunc(m.Customs, func(c Custom) bool { return c.Name == NameSection })
	if i < 0 {
		return n, nil
	}
	c := &cursor{b: m.Customs[i].Data, section: NameSection}
	for c.left() > 0 {
		id := c.byte()
		size := int64(c.u32())
		if size > int64(c.left()) {
			c.fail("length out of bounds")
			break
		}
		s := &cursor{b: c.b[:c.pos+int(size)], pos: c.pos, section: c.section}
		c.pos += int(size)
		if id == namesModule {
			n.Module, n.HasModule = s.name(), true
		} else if list := n.list(id); list != nil {
			*list = s.namings()
		} else if list := n.locals(id); list != nil {
			*list = vector(s, 2, func(c *cursor) LocalNaming { return LocalNaming{c.u32(), c.namings()} })
			byIndex(*list, func(l LocalNaming) uint32 { return l.Index })
		}
		if s.err != nil {
			return n, s.err
		}
	}
	if c.err != nil {
		return n, c.err
	}
	return n, nil
}

func (n *Names) list(id byte) *[]Naming {
	switch id {
	case namesFuncs:
		return &n.Funcs
	case namesTypes:
		return &n.Types
	case namesTables:
		return &n.Tables
	case namesMemories:
		return &n.Memories
	case namesGlobals:
		return &n.Globals
	case namesElems:
		return &n.Elems
	case namesData:
		return &n.Data
	case namesTags:
		return &n.Tags
	}
	return nil
}

func (n *Names) locals(id byte) *[]LocalNaming {
	switch id {
	case namesLocals:
		return &n.Locals
	case namesLabels:
		return &n.Labels
	}
	return nil
}

func (c *cursor) namings() []Naming {
	l := vector(c, 2, func(c *cursor) Naming { return Naming{c.u32(), c.name()} })
	byIndex(l, func(n Naming) uint32 { return n.Index })
	return l
}

func byIndex[T any](l []T, index func(T) uint32) {
	less := func(a, b int) bool { return index(l[a]) < index(l[b]) }
	if !sort.SliceIsSorted(l, less) {
		sort.SliceStable(l, less)
	}
}

// AppendTo appends the content of a name section. Empty lists are left out.
func (n *Names) AppendTo(dst []byte) []byte {
	var buf []byte
	for id := byte(namesModule); id <= namesTags; id++ {
		buf = buf[:0]
		if id == namesModule && n.HasModule {
			buf = AppendName(buf, n.Module)
		} else if list := n.list(id); list != nil {
			buf = appendVector(buf, *list, appendNaming)
		} else if list := n.locals(id); list != nil {
			buf = appendVector(buf, *list, func(dst []byte, l *LocalNaming) []byte {
				dst = AppendUint32(dst, l.Index)
				if len(l.Names) == 0 {
					return append(dst, 0)
				}
				return appendVector(dst, l.Names, appendNaming)
			})
		}
		if len(buf) > 0 {
			dst = append(AppendUint32(append(dst, id), uint32(len(buf))), buf...)
		}
	}
	return dst
}

func appendNaming(dst []byte, n *Naming) []byte {
	return AppendName(AppendUint32(dst, n.Index), n.Name)
}

// SetNames puts names in the place of the module's name section, or behind all sections if it has none.
func (m *Module) SetNames(n *Names) {
	c := Custom{Name: NameSection, Data: n.AppendTo(nil), After: secData}
	if i := slices.IndexFunc(m.Customs, func(c Custom) bool { return c.Name == NameSection }); i >= 0 {
		c.After = m.Customs[i].After
		m.Customs[i] = c
		return
	}
	m.Customs = append(m.Customs, c)
}

// Remap moves every name to the index that its new owner has; index returns false for what is gone. The names of
// locals and labels stay with their function.
func (n *Names) Remap(index func(s Space, old uint32) (uint32, bool)) {
	spaces := [...]Space{namesFuncs: SpaceFunc, namesTypes: SpaceType, namesTables: SpaceTable,
		namesMemories: SpaceMemory, namesGlobals: SpaceGlobal, namesElems: SpaceElem, namesData: SpaceData, namesTags: SpaceTag}
	for id, space := range spaces {
		if list := n.list(byte(id)); list != nil {
			*list = remap(*list, space, index, func(n *Naming) *uint32 { return &n.Index })
		}
	}
	for _, list := range []*[]LocalNaming{&n.Locals, &n.Labels} {
		*list = remap(*list, SpaceFunc, index, func(l *LocalNaming) *uint32 { return &l.Index })
	}
}

func remap[T any](l []T, s Space, index func(Space, uint32) (uint32, bool), at func(*T) *uint32) []T {
	kept := l[:0]
	for _, n := range l {
		i := at(&n)
		var ok bool
		if *i, ok = index(s, *i); ok {
			kept = append(kept, n)
		}
	}
	byIndex(kept, func(n T) uint32 { return *at(&n) })
	return kept
}

// Func is the name of a function, or "".
func (n *Names) Func(index uint32) string { return find(n.Funcs, index) }

func find(l []Naming, index uint32) string {
	i, ok := slices.BinarySearchFunc(l, index, func(n Naming, i uint32) int { return int(int64(n.Index) - int64(i)) })
	if !ok {
		return ""
	}
	return l[i].Name
}
