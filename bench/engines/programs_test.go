package main

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// tiny are arguments for what an interpreter does in a moment, where 1 is too much or too little for that.
var tiny = map[string]string{
	"nbody": "2000", "mandelbrot": "24", "matmul": "16", "quicksort": "2000", "fib": "15", "queens": "6", "spectral": "20", "fannkuch": "6",
	"pairs-simd": "24", "lines": "3",
}

// TestProgramsAgree runs each program natively and on every engine, as it is and as clones run it: all say the same.
func TestProgramsAgree(t *testing.T) {
	w, err := newWorkshop(&options{rounds: 1, quick: true, kinds: engines.Kinds(), scratch: t.TempDir()})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { w.close(t.Context()) })
	for _, p := range programs.Portables() {
		t.Run(p.Name, func(t *testing.T) {
			if testing.Short() && p.Lang != programs.C {
				t.Skip("takes seconds to build")
			}
			p.Full = tinily(&p)
			p.Small = p.Full
			f, err := w.measure(t.Context(), &p)
			if errors.Is(err, fs.ErrNotExist) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range each(w.o.kinds) {
				if len(f.over[s]) != 1 {
					t.Errorf("%v was not measured", s)
				}
			}
		})
	}
}

func tinily(p *programs.Portable) []string {
	size := "1"
	if s := tiny[p.Name]; s != "" {
		size = s
	}
	if p.Lang == programs.Go {
		return []string{p.Full[0], size}
	}
	return []string{size}
}

// TestNativeBuild tells a compiler that is not there from code that it does not take.
func TestNativeBuild(t *testing.T) {
	n, err := newNatives(t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	p := programs.Portables()[0]
	if _, err := n.build(t.Context(), &p, "nonesuch"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	p.Source = "nonesuch.c"
	if _, err := n.build(t.Context(), &p, gcc); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestCompute refuses a guest that ends with a code, and one that does not say when it begins.
func TestCompute(t *testing.T) {
	eng, err := engines.New(engines.Auto, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close(t.Context()) })
	prog, err := prepare(t.Context(), eng, programs.Wasm("matmul"), cloned)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close(t.Context()) })
	if _, _, err := compute(t.Context(), prog, cloned.tracker(), programs.C, []string{"9999"}); err == nil {
		t.Error("exit code 2 passed")
	}
	if _, _, err := compute(t.Context(), prog, cloned.tracker(), programs.Rust, []string{"2"}); err == nil {
		t.Error("a program without a mark passed")
	}
	took, out, err := compute(t.Context(), prog, cloned.tracker(), programs.C, []string{"64"})
	if err != nil || took <= 0 || !bytes.HasSuffix(out, []byte("\n")) {
		t.Errorf("got %v s, %q, %v", took, out, err)
	}
}
