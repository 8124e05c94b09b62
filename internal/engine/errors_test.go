package engine

import "testing"

func TestTexts(t *testing.T) {
	tests := map[string]string{
		Signature([]byte{I32, I64}, []byte{F32, F64}):                 "(i32 i64) -> (f32 f64)",
		Signature(nil, []byte{0x7b}):                                  "() -> (0x7b)",
		(&Trap{Kind: TrapDivideByZero, Detail: "own words"}).Error():  "wasm trap: integer divide by zero",
		(&Trap{Kind: NumTrapKinds}).Error():                           "wasm trap: trap 11",
		(&ImportError{"env", "f", "not offered by the host"}).Error(): "import env.f: not offered by the host",
		(&Exception{}).Error():                                        "uncaught wasm exception",
	}
	for got, want := range tests {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for k := range NumTrapKinds {
		if trapNames[k] == "" {
			t.Errorf("trap %d has no name", k)
		}
	}
	for typ := range byte(0x80) {
		if IsNumber(typ) != (typ == I32 || typ == I64 || typ == F32 || typ == F64) {
			t.Errorf("IsNumber(%#x) is %t", typ, IsNumber(typ))
		}
	}
}
