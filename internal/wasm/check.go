package wasm

// CheckBodies reads every instruction of every body: it finds what is malformed, not what is ill-typed.
func (m *Module) CheckBodies() error {
	var k checker
	for i := range m.Funcs {
		if err := k.body(&m.Funcs[i].Body, m.HasDataCount); err != nil {
			return err
		}
	}
	return nil
}

// checker keeps its memory from body to body.
type checker struct {
	in   Instr
	open []bool // the open blocks, the body itself first: may an else follow?
}

func (k *checker) body(b *Body, dataCount bool) error {
	r := b.Reader()
	k.open = append(k.open[:0], false)
	for r.Next(&k.in) {
		last := len(k.open) - 1
		if last < 0 {
			r.c.failAt(k.in.Pos, "operators remaining after end of function")
			break
		}
		switch k.in.Op {
		case OpBlock, OpLoop, OpIf, OpTryTable:
			k.open = append(k.open, k.in.Op == OpIf)
		case OpElse:
			if !k.open[last] {
				r.c.failAt(k.in.Pos, "unexpected else")
			}
			k.open[last] = false
		case OpEnd:
			k.open = k.open[:last]
		case OpMemoryInit, OpDataDrop:
			if !dataCount {
				r.c.failAt(k.in.Pos, "data count section required")
			}
		}
	}
	if r.c.err == nil && len(k.open) > 0 {
		r.c.fail("END opcode expected")
	}
	return r.Err()
}
