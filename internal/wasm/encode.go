package wasm

// Encode returns the module in binary form. The same module gives the same bytes.
func (m *Module) Encode() []byte {
	n := 1 << 12
	for i := range m.Funcs {
		n += len(m.Funcs[i].Body.Code) + 16
	}
	for i := range m.Data {
		n += len(m.Data[i].Init) + 16
	}
	for i := range m.Customs {
		n += len(m.Customs[i].Data) + len(m.Customs[i].Name) + 16
	}
	return m.AppendTo(make([]byte, 0, n+16*len(m.Exports)+16*len(m.Types)))
}

// AppendTo appends the module in binary form. Empty sections are left out; each custom section follows the known
// section that its After names, or the place where that would stand.
func (m *Module) AppendTo(dst []byte) []byte {
	dst = append(dst, header...)
	written := 0
	dst = m.appendCustoms(dst, secCustom, &written)
	var buf []byte
	for _, id := range sections {
		if id == secCode {
			dst = m.appendCode(dst)
		} else if buf = m.appendSection(buf[:0], id); len(buf) > 0 {
			dst = append(AppendUint32(append(dst, id), uint32(len(buf))), buf...)
		}
		dst = m.appendCustoms(dst, id, &written)
	}
	if written < len(m.Customs) {
		// Some follow no section that exists: they stand last.
		for i := range m.Customs {
			if c := &m.Customs[i]; int(c.After) >= len(sectionNames) {
				dst = c.appendTo(dst)
			}
		}
	}
	return dst
}

func (m *Module) appendCustoms(dst []byte, after byte, written *int) []byte {
	for i := range m.Customs {
		if c := &m.Customs[i]; c.After == after {
			dst = c.appendTo(dst)
			*written++
		}
	}
	return dst
}

func (c *Custom) appendTo(dst []byte) []byte {
	size := uint32Len(len(c.Name)) + len(c.Name) + len(c.Data)
	dst = AppendUint32(append(dst, secCustom), uint32(size))
	return append(AppendName(dst, c.Name), c.Data...)
}

// uint32Len is the number of bytes that AppendUint32 takes for n.
func uint32Len(n int) int {
	l := 1
	for n >>= 7; n > 0; n >>= 7 {
		l++
	}
	return l
}

// appendSection appends the content of a section, nothing if it is empty.
func (m *Module) appendSection(dst []byte, id byte) []byte {
	switch id {
	case secType:
		return m.appendFuncTypes(dst)
	case secImport:
		return appendVector(dst, m.Imports, appendImport)
	case secFunc:
		return appendVector(dst, m.Funcs, func(dst []byte, f *Func) []byte { return AppendUint32(dst, f.Type) })
	case secTable:
		return appendVector(dst, m.Tables, func(dst []byte, t *Table) []byte {
			if t.Init == nil {
				return t.TableType.appendTo(dst)
			}
			return append(t.TableType.appendTo(append(dst, 0x40, 0)), t.Init...)
		})
	case secMemory:
		return appendVector(dst, m.Memories, func(dst []byte, l *Limits) []byte { return l.appendTo(dst) })
	case secTag:
		return appendVector(dst, m.Tags, func(dst []byte, t *uint32) []byte { return AppendUint32(append(dst, 0), *t) })
	case secGlobal:
		return appendVector(dst, m.Globals, func(dst []byte, g *Global) []byte {
			return append(g.GlobalType.appendTo(dst), g.Init...)
		})
	case secExport:
		return appendVector(dst, m.Exports, func(dst []byte, e *Export) []byte {
			return AppendUint32(append(AppendName(dst, e.Name), byte(e.Kind)), e.Index)
		})
	case secStart:
		if m.Start != nil {
			dst = AppendUint32(dst, *m.Start)
		}
	case secElem:
		return appendVector(dst, m.Elems, appendElem)
	case secDataCount:
		if m.HasDataCount {
			dst = AppendUint32(dst, uint32(len(m.Data)))
		}
	case secData:
		return appendVector(dst, m.Data, func(dst []byte, d *Data) []byte {
			switch {
			case d.Mode != Active:
				dst = append(dst, 1)
			case d.Memory != 0:
				dst = append(AppendUint32(append(dst, 2), d.Memory), d.Offset...)
			default:
				dst = append(append(dst, 0), d.Offset...)
			}
			return append(AppendUint32(dst, uint32(len(d.Init))), d.Init...)
		})
	}
	return dst
}

func (m *Module) appendFuncTypes(dst []byte) []byte {
	if len(m.Types) == 0 {
		return dst
	}
	n := len(m.Types)
	for _, g := range m.RecGroups {
		n -= int(g.Size) - 1
	}
	dst = AppendUint32(dst, uint32(n))
	groups := m.RecGroups
	for i, t := range m.Types {
		if len(groups) > 0 && groups[0].First == uint32(i) {
			dst = AppendUint32(append(dst, formRec), groups[0].Size)
			groups = groups[1:]
		}
		dst = appendTypes(appendTypes(append(dst, formType), t.Params), t.Results)
	}
	return dst
}

func appendVector[T any](dst []byte, v []T, entry func([]byte, *T) []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = AppendUint32(dst, uint32(len(v)))
	for i := range v {
		dst = entry(dst, &v[i])
	}
	return dst
}

func appendImport(dst []byte, i *Import) []byte {
	dst = append(AppendName(AppendName(dst, i.Module), i.Name), byte(i.Kind))
	switch i.Kind {
	case ExternFunc:
		return AppendUint32(dst, i.Type)
	case ExternTable:
		return i.Table.appendTo(dst)
	case ExternMemory:
		return i.Memory.appendTo(dst)
	case ExternGlobal:
		return i.Global.appendTo(dst)
	case ExternTag:
		return AppendUint32(append(dst, 0), i.Type)
	}
	return dst
}

func (t TableType) appendTo(dst []byte) []byte {
	return t.Limits.appendTo(AppendValType(dst, t.Elem))
}

func (l Limits) appendTo(dst []byte) []byte {
	var flags byte
	if l.HasMax {
		flags |= 1
	}
	if l.Shared {
		flags |= 2
	}
	dst = AppendUint32(append(dst, flags), uint32(l.Min))
	if l.HasMax {
		dst = AppendUint32(dst, uint32(l.Max))
	}
	return dst
}

func (g GlobalType) appendTo(dst []byte) []byte {
	if g.Mutable {
		return append(AppendValType(dst, g.Type), 1)
	}
	return append(AppendValType(dst, g.Type), 0)
}

func appendElem(dst []byte, e *Elem) []byte {
	var flags byte
	if e.Exprs != nil {
		flags |= elemExprs
	}
	switch {
	case e.Mode == Passive:
		flags |= elemNotActive
	case e.Mode == Declarative:
		flags |= elemNotActive | elemExplicit
	case e.Table != 0 || e.Type.Kind != FuncRef:
		flags |= elemExplicit
	}
	dst = append(dst, flags)
	if e.Mode == Active {
		if flags&elemExplicit != 0 {
			dst = AppendUint32(dst, e.Table)
		}
		dst = append(dst, e.Offset...)
	}
	typed := flags&(elemNotActive|elemExplicit) != 0
	if e.Exprs == nil {
		if typed {
			dst = append(dst, 0)
		}
		dst = AppendUint32(dst, uint32(len(e.Funcs)))
		for _, f := range e.Funcs {
			dst = AppendUint32(dst, f)
		}
		return dst
	}
	if typed {
		dst = AppendValType(dst, e.Type)
	}
	dst = AppendUint32(dst, uint32(len(e.Exprs)))
	for _, x := range e.Exprs {
		dst = append(dst, x...)
	}
	return dst
}

// appendCode writes the code section in place: sizes are computed first, so that no body is copied twice.
func (m *Module) appendCode(dst []byte) []byte {
	if len(m.Funcs) == 0 {
		return dst
	}
	sizes := make([]int, len(m.Funcs))
	total := uint32Len(len(m.Funcs))
	var locals []byte
	for i := range m.Funcs {
		b := &m.Funcs[i].Body
		locals = b.appendLocals(locals[:0])
		sizes[i] = len(locals) + len(b.Code)
		total += uint32Len(sizes[i]) + sizes[i]
	}
	dst = AppendUint32(append(dst, secCode), uint32(total))
	dst = AppendUint32(dst, uint32(len(m.Funcs)))
	for i := range m.Funcs {
		b := &m.Funcs[i].Body
		dst = append(b.appendLocals(AppendUint32(dst, uint32(sizes[i]))), b.Code...)
	}
	return dst
}

func (b *Body) appendLocals(dst []byte) []byte {
	dst = AppendUint32(dst, uint32(len(b.Locals)))
	for _, r := range b.Locals {
		dst = AppendValType(AppendUint32(dst, r.Count), r.Type)
	}
	return dst
}
