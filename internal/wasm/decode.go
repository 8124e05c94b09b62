package wasm

import (
	"bytes"
	"fmt"
	"math"
)

// The ids of sections.
const (
	secCustom byte = iota
	secType
	secImport
	secFunc
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElem
	secCode
	secData
	secDataCount
	secTag
)

// sections is the order in which known sections stand in a module.
var sections = [...]byte{secType, secImport, secFunc, secTable, secMemory, secTag, secGlobal, secExport, secStart,
	secElem, secDataCount, secCode, secData}

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export",
	"start", "element", "code", "data", "data count", "tag"}

const header = "\x00asm\x01\x00\x00\x00"

// The bytes before a function type and before a group of types.
const (
	formType = 0x60
	formRec  = 0x4e
)

// Decode decodes a module whose bytes must not change afterwards. What is malformed is refused with a *FormatError.
// The instructions of bodies are not looked at: see CheckBodies.
func Decode(bin []byte) (*Module, error) {
	d := decoder{m: &Module{}, dataCount: -1}
	d.module(bin)
	if d.err != nil {
		return nil, d.err
	}
	return d.m, nil
}

// decoder holds what one section must tell another.
type decoder struct {
	m         *Module
	funcs     []uint32 // the function section: type indices
	dataCount int64    // -1: no such section
	err       *FormatError
}

func (d *decoder) module(bin []byte) {
	c := &cursor{b: bin, section: "header"}
	if len(bin) >= 4 && !bytes.Equal(bin[:4], []byte(header[:4])) {
		c.fail("magic header not detected")
	} else if len(bin) < len(header) {
		c.pos = len(bin)
		c.fail(errEnd)
	} else if !bytes.Equal(bin[4:8], []byte(header[4:])) {
		c.failAt(4, "unknown binary version")
	}
	c.pos += len(header)
	next := 0       // the first place in sections that may still come
	last := byte(0) // the last known section that holds something
	for c.err == nil && c.left() > 0 {
		start := c.pos
		id := c.byte()
		if int(id) >= len(sectionNames) {
			c.failAt(start, fmt.Sprintf("malformed section id %d", id))
			break
		}
		c.section = sectionNames[id]
		size := c.u32()
		if int64(size) > int64(c.left()) {
			c.fail("length out of bounds")
			break
		}
		s := &cursor{b: c.b[: c.pos+int(size) : c.pos+int(size)], pos: c.pos, section: c.section}
		c.pos += int(size)
		if id == secCustom {
			name := s.name()
			d.m.Customs = append(d.m.Customs, Custom{Name: name, Data: s.take(s.left()), After: last})
		} else {
			at := bytes.IndexByte(sections[next:], id)
			if at < 0 {
				c.failAt(start, "section repeated or out of order")
				break
			}
			next += at + 1
			if d.section(s, id) {
				last = id
			}
		}
		if s.err == nil && s.left() > 0 {
			s.fail("section size mismatch")
		}
		c.err = s.err
	}
	c.pos, c.section = len(bin), "code"
	if len(d.funcs) != len(d.m.Funcs) {
		c.fail("function and code section have inconsistent lengths")
	}
	if c.section = "data"; d.dataCount >= 0 && d.dataCount != int64(len(d.m.Data)) {
		c.fail("data count and data section have inconsistent lengths")
	}
	d.err = c.err
}

// section decodes a known section and reports whether it holds anything that Encode will write again.
func (d *decoder) section(c *cursor, id byte) bool {
	m := d.m
	switch id {
	case secType:
		d.types(c)
		return m.Types != nil
	case secImport:
		m.Imports = vector(c, 4, (*cursor).importEntry)
		return m.Imports != nil
	case secFunc:
		d.funcs = vector(c, 1, (*cursor).u32)
		return d.funcs != nil
	case secTable:
		m.Tables = vector(c, 3, (*cursor).table)
		return m.Tables != nil
	case secMemory:
		m.Memories = vector(c, 2, (*cursor).memory)
		return m.Memories != nil
	case secTag:
		m.Tags = vector(c, 2, (*cursor).tag)
		return m.Tags != nil
	case secGlobal:
		m.Globals = vector(c, 3, func(c *cursor) Global { return Global{c.globalType(), c.expr()} })
		return m.Globals != nil
	case secExport:
		m.Exports = vector(c, 3, (*cursor).export)
		return m.Exports != nil
	case secStart:
		i := c.u32()
		m.Start = &i
	case secElem:
		m.Elems = vector(c, 2, (*cursor).elem)
		return m.Elems != nil
	case secDataCount:
		d.dataCount, m.HasDataCount = int64(c.u32()), true
	case secCode:
		d.code(c)
		return m.Funcs != nil
	case secData:
		m.Data = vector(c, 2, (*cursor).data)
		return m.Data != nil
	}
	return true
}

// types decodes the type section, whose entries are types and groups of types.
func (d *decoder) types(c *cursor) {
	for range c.count(2) {
		if c.left() > 0 && c.b[c.pos] == formRec {
			c.pos++
			g := RecGroup{First: uint32(len(d.m.Types)), Size: uint32(c.count(3))}
			for i := uint32(0); i < g.Size && c.err == nil; i++ {
				d.m.Types = append(d.m.Types, c.funcType())
			}
			if g.Size > 0 {
				d.m.RecGroups = append(d.m.RecGroups, g)
			}
		} else {
			d.m.Types = append(d.m.Types, c.funcType())
		}
		if c.err != nil {
			return
		}
	}
}

// vector decodes entries of at least size bytes each.
func vector[T any](c *cursor, size int, entry func(*cursor) T) []T {
	n := c.count(size)
	if n == 0 {
		return nil
	}
	v := make([]T, 0, c.room(n))
	for range n {
		e := entry(c)
		if c.err != nil {
			return nil
		}
		v = append(v, e)
	}
	return v
}

func (c *cursor) funcType() FuncType {
	at := c.pos
	if c.byte() != formType {
		c.failAt(at, "malformed function type")
	}
	return FuncType{Params: c.valTypes(), Results: c.valTypes()}
}

func (c *cursor) importEntry() Import {
	i := Import{Module: c.name(), Name: c.name()}
	at := c.pos
	i.Kind = ExternKind(c.byte())
	switch i.Kind {
	case ExternFunc:
		i.Type = c.u32()
	case ExternTable:
		i.Table = c.tableType()
	case ExternMemory:
		i.Memory = c.memory()
	case ExternGlobal:
		i.Global = c.globalType()
	case ExternTag:
		i.Type = c.tag()
	default:
		c.failAt(at, "malformed import kind")
	}
	return i
}

// limits decodes limits whose flags may be any of those in allowed.
func (c *cursor) limits(allowed byte) Limits {
	at := c.pos
	flags := c.byte()
	if flags&4 != 0 && flags < 8 {
		c.failAt(at, "64-bit memories and tables are not supported")
	}
	if flags&^allowed != 0 {
		c.failAt(at, "malformed limits flags")
	}
	l := Limits{Min: uint64(c.u32()), HasMax: flags&1 != 0, Shared: flags&2 != 0}
	if l.HasMax {
		l.Max = uint64(c.u32())
	}
	return l
}

func (c *cursor) memory() Limits { return c.limits(3) }

func (c *cursor) tableType() TableType {
	return TableType{Elem: c.refType(), Limits: c.limits(1)}
}

func (c *cursor) table() Table {
	if c.left() > 0 && c.b[c.pos] == 0x40 {
		c.pos++
		at := c.pos
		if c.byte() != 0 {
			c.failAt(at, "malformed table")
		}
		return Table{c.tableType(), c.expr()}
	}
	return Table{TableType: c.tableType()}
}

func (c *cursor) globalType() GlobalType {
	t := c.valType()
	at := c.pos
	mut := c.byte()
	if mut > 1 {
		c.failAt(at, "malformed mutability")
	}
	return GlobalType{t, mut == 1}
}

func (c *cursor) tag() uint32 {
	at := c.pos
	if c.byte() != 0 {
		c.failAt(at, "malformed tag attribute")
	}
	return c.u32()
}

func (c *cursor) export() Export {
	e := Export{Name: c.name()}
	at := c.pos
	if e.Kind = ExternKind(c.byte()); e.Kind > ExternTag {
		c.failAt(at, "malformed export kind")
	}
	e.Index = c.u32()
	return e
}

// The bits of an element segment's flags.
const (
	elemNotActive = 1 << iota
	elemExplicit  // of an active one: a table index; of others: declarative
	elemExprs
)

func (c *cursor) elem() Elem {
	at := c.pos
	flags := c.u32()
	if flags > 7 {
		c.failAt(at, "malformed elements segment kind")
	}
	e := Elem{Type: ValType{Kind: FuncRef}}
	switch {
	case flags&elemNotActive == 0:
		if flags&elemExplicit != 0 {
			e.Table = c.u32()
		}
		e.Offset = c.expr()
	case flags&elemExplicit != 0:
		e.Mode = Declarative
	default:
		e.Mode = Passive
	}
	typed := flags&(elemNotActive|elemExplicit) != 0
	if flags&elemExprs != 0 {
		if typed {
			e.Type = c.refType()
		}
		if e.Exprs = vector(c, 1, (*cursor).expr); e.Exprs == nil {
			e.Exprs = []Expr{}
		}
		return e
	}
	at = c.pos
	if typed && c.byte() != 0 {
		c.failAt(at, "malformed element kind")
	}
	e.Funcs = vector(c, 1, (*cursor).u32)
	return e
}

func (c *cursor) data() Data {
	at := c.pos
	var d Data
	switch flags := c.u32(); flags {
	case 0:
		d.Offset = c.expr()
	case 1:
		d.Mode = Passive
	case 2:
		d.Memory = c.u32()
		d.Offset = c.expr()
	default:
		c.failAt(at, "malformed data segment kind")
	}
	d.Init = c.take(int(c.u32()))
	return d
}

// code decodes the code section. All runs of locals share a few arrays.
func (d *decoder) code(c *cursor) {
	n := c.count(3)
	if n != len(d.funcs) {
		c.fail("function and code section have inconsistent lengths")
	}
	if c.err != nil || n == 0 {
		return
	}
	d.m.Funcs = make([]Func, n)
	var runs []LocalRun
	for i := range d.m.Funcs {
		size := c.u32()
		if int64(size) > int64(c.left()) {
			c.fail(errEnd)
			return
		}
		b := cursor{b: c.b[: c.pos+int(size) : c.pos+int(size)], pos: c.pos, section: c.section}
		c.pos += int(size)
		from, total := len(runs), uint64(0)
		for range b.count(2) {
			r := LocalRun{b.u32(), b.valType()}
			if total += uint64(r.Count); total > math.MaxUint32 {
				b.fail("too many locals")
			}
			if b.err != nil {
				break
			}
			runs = append(runs, r)
		}
		if b.err == nil && (b.left() == 0 || b.b[len(b.b)-1] != byte(OpEnd)) {
			b.failAt(max(len(b.b)-1, 0), "END opcode expected")
		}
		if b.err != nil {
			c.err = b.err
			return
		}
		f := &d.m.Funcs[i]
		f.Type = d.funcs[i]
		if len(runs) > from {
			f.Body.Locals = runs[from:len(runs):len(runs)]
		}
		f.Body.Offset = uint32(b.pos)
		f.Body.Code = b.take(b.left())
	}
}
