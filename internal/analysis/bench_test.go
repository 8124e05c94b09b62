package analysis

import (
	"os"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// BenchmarkAnalyze analyses a Go program of about 3 MB, or the module that ANALYZE_MODULE names.
func BenchmarkAnalyze(b *testing.B) {
	path := os.Getenv("ANALYZE_MODULE")
	if path == "" {
		var err error
		if path, err = goProgram(); err != nil {
			b.Fatal(err)
		}
	}
	bin, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(bin)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Analyze(m, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
