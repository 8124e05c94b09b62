package gauge

import "testing"

func TestSpeed(t *testing.T) {
	a, b := Speed(), Speed()
	if a < 1e6 || a > 1e11 {
		t.Errorf("speed %g is no machine's", a)
	}
	if r := a / b; r < 0.2 || r > 5 {
		t.Errorf("speeds %g and %g of one machine", a, b)
	}
}

func BenchmarkSpeed(b *testing.B) {
	for b.Loop() {
		Speed()
	}
}
