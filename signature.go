package clonecloud

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// Signature is the type of an exported function whose parameters and results are numbers. It converts them from
// and to text.
type Signature struct {
	export          string
	params, results []wasm.ValType
}

// ExportSignature finds the type of an export that [Config.Invoke] may name.
func ExportSignature(module []byte, export string) (Signature, error) {
	m, err := wasm.Decode(module)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", ErrModule, err)
	}
	e := m.Export(export)
	if e == nil || e.Kind != wasm.ExternFunc {
		return Signature{}, fmt.Errorf("%w: the module exports no function %q", ErrInvoke, export)
	}
	return signatureOf(m, e)
}

// signatures lists the exports that take and return nothing but numbers.
func signatures(m *wasm.Module) []Signature {
	var list []Signature
	for i := range m.Exports {
		if m.Exports[i].Kind != wasm.ExternFunc {
			continue
		}
		if s, err := signatureOf(m, &m.Exports[i]); err == nil {
			list = append(list, s)
		}
	}
	return list
}

func signatureOf(m *wasm.Module, e *wasm.Export) (Signature, error) {
	t, ok := m.FuncType(e.Index)
	if !ok {
		return Signature{}, fmt.Errorf("%w: function %d, exported as %q, is not there", ErrModule, e.Index, e.Name)
	}
	for _, v := range slices.Concat(t.Params, t.Results) {
		if !v.IsNumber() {
			return Signature{}, fmt.Errorf("%w: %s takes or returns a value that is no number: %v", ErrInvoke, e.Name, v)
		}
	}
	return Signature{export: e.Name, params: t.Params, results: t.Results}, nil
}

// Name is the name of the export.
func (s Signature) Name() string { return s.export }

// ParamTypes are the types of the parameters.
func (s Signature) ParamTypes() []ValueType { return valueTypes(s.params) }

// ResultTypes are the types of the results.
func (s Signature) ResultTypes() []ValueType { return valueTypes(s.results) }

// String writes name and type: "add (i32 i32) -> (i32)".
func (s Signature) String() string { return s.export + " " + typeText(s.params, s.results) }

// Params reads arguments, for [Config.Params]. Integers may be signed or unsigned, decimal, or with 0x, 0o or 0b.
func (s Signature) Params(args []string) ([]uint64, error) {
	if len(args) != len(s.params) {
		return nil, fmt.Errorf("%w: %s takes %d arguments, %d given", ErrInvoke, s.export, len(s.params), len(args))
	}
	out := make([]uint64, len(args))
	for i, a := range args {
		v, err := parseNumber(s.params[i].Kind, a)
		if err != nil {
			// The text of strconv's errors names its function; the cause is all that a person needs.
			var syntax *strconv.NumError
			if errors.As(err, &syntax) {
				err = syntax.Err
			}
			return nil, fmt.Errorf("%w: argument %d of %s: %q is no %v: %w", ErrInvoke, i+1, s.export, a, s.params[i], err)
		}
		out[i] = v
	}
	return out, nil
}

func parseNumber(kind byte, s string) (uint64, error) {
	switch kind {
	case wasm.I32:
		v, err := parseInteger(s, 32)
		return uint64(uint32(v)), err
	case wasm.I64:
		return parseInteger(s, 64)
	case wasm.F32:
		v, err := strconv.ParseFloat(s, 32)
		return uint64(math.Float32bits(float32(v))), err
	default:
		v, err := strconv.ParseFloat(s, 64)
		return math.Float64bits(v), err
	}
}

func parseInteger(s string, bits int) (uint64, error) {
	if v, err := strconv.ParseInt(s, 0, bits); err == nil {
		return uint64(v), nil
	}
	return strconv.ParseUint(s, 0, bits)
}

// Results writes what [RunResults] returned, integers as signed numbers.
func (s Signature) Results(slots []uint64) []string {
	var out []string
	for i, t := range s.results[:min(len(s.results), len(slots))] {
		v := slots[i]
		switch t.Kind {
		case wasm.I32:
			out = append(out, strconv.FormatInt(int64(int32(v)), 10))
		case wasm.I64:
			out = append(out, strconv.FormatInt(int64(v), 10))
		case wasm.F32:
			out = append(out, strconv.FormatFloat(float64(math.Float32frombits(uint32(v))), 'g', -1, 32))
		case wasm.F64:
			out = append(out, strconv.FormatFloat(math.Float64frombits(v), 'g', -1, 64))
		}
	}
	return out
}
