package wazero

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// kind is what an import is, in binary form.
type kind byte

const (
	kindFunc kind = iota
	kindTable
	kindMemory
	kindGlobal
	kindTag
)

// imported is one entry of the import section. wazero tells only of functions and memories.
type imported struct {
	module, name string
	kind         kind
}

var errShort = errors.New("section ends early")

// readImports reads the import section of a module that wazero has validated.
func readImports(bin []byte) ([]imported, error) {
	const header, importSection = 8, 2
	if len(bin) < header {
		return nil, errShort
	}
	for r := (reader{rest: bin[header:]}); len(r.rest) > 0; {
		id := r.byte()
		body := r.take(r.uint())
		if r.err != nil {
			return nil, r.err
		}
		if id == importSection {
			return readImportSection(body)
		}
	}
	return nil, nil
}

func readImportSection(body []byte) ([]imported, error) {
	r := reader{rest: body}
	n := r.uint()
	var list []imported
	for range n {
		im := imported{module: string(r.take(r.uint())), name: string(r.take(r.uint())), kind: kind(r.byte())}
		switch im.kind {
		case kindFunc:
			r.uint()
		case kindTable:
			r.valueType()
			r.limits()
		case kindMemory:
			r.limits()
		case kindGlobal:
			r.valueType()
			r.byte()
		case kindTag:
			r.byte()
			r.uint()
		default:
			return nil, fmt.Errorf("unknown kind %d", im.kind)
		}
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, im)
	}
	return list, nil
}

// reader takes what it reads from the front of rest; after an error it reads zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, errShort
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint reads a LEB128 number; of a signed one it gives nonsense, but the right length.
func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest, r.err = nil, errShort
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) valueType() {
	const ref, refNull = 0x64, 0x63
	if t := r.byte(); t == ref || t == refNull {
		r.uint()
	}
}

func (r *reader) limits() {
	const hasMax = 1
	if r.uint()&hasMax != 0 {
		r.uint()
	}
	r.uint()
}
