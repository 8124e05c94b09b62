package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/migrate"
)

// quickly are the programs of a short run.
var quickly = []string{"fib", "lz", "gemm-simd", "rust-heat"}

// speed compares the engines' code with native code.
func speed(ctx context.Context, o *options) ([]*measure.Table, error) {
	w, err := newWorkshop(o)
	if err != nil {
		return nil, err
	}
	defer w.close(ctx)
	full, small := w.tables()
	var all []figures
	for _, p := range programs.Portables() {
		if !strings.Contains(p.Name, o.filter) || o.quick && o.filter == "" && !slices.Contains(quickly, p.Name) {
			continue
		}
		f, err := w.measure(ctx, &p)
		if errors.Is(err, fs.ErrNotExist) {
			full.Note("%s was not measured: %v.", p.Name, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		all = append(all, *f)
		w.add(full, small, f)
	}
	if len(all) == 0 {
		return nil, errors.New("no program was measured")
	}
	tables := []*measure.Table{full, small, means(all, w.compiled, w.interpreted), targets(all)}
	tables = slices.DeleteFunc(tables, func(t *measure.Table) bool { return len(t.Rows) == 0 })
	if o.chart == "" {
		return tables, nil
	}
	return tables, os.WriteFile(o.chart, drawSpeed(all, o.kinds), 0o644)
}

// workshop has what programs are built and run with.
type workshop struct {
	o       *options
	natives *natives
	engines map[string]engine.Engine // by kind
	// compiled and interpreted are kinds: the latter get smaller inputs.
	compiled, interpreted []string
	inGo                  map[who]*migrate.Program // see prepare
}

func newWorkshop(o *options) (*workshop, error) {
	w := &workshop{o: o, engines: map[string]engine.Engine{}, inGo: map[who]*migrate.Program{}}
	var err error
	if w.natives, err = o.builder(); err != nil {
		return nil, err
	}
	for _, k := range o.kinds {
		if w.engines[k], err = engines.New(k, ""); err != nil {
			delete(w.engines, k)
			w.close(context.Background())
			return nil, err
		}
		if k == engines.Interpreter {
			w.interpreted = append(w.interpreted, k)
		} else {
			w.compiled = append(w.compiled, k)
		}
	}
	return w, nil
}

func (w *workshop) close(ctx context.Context) {
	for _, p := range w.inGo {
		_ = p.Close(ctx)
	}
	for _, e := range w.engines {
		_ = e.Close(ctx) // what was measured stands
	}
}

// who names a side that is compared with the baseline.
type who struct {
	name string // a kind of engine, or a compiler
	v    variant
}

func (s who) String() string {
	if s.name == clang {
		return "clang -O2"
	}
	return fmt.Sprintf("%s, %v", s.name, s.v)
}

// figures are what was measured of a program.
type figures struct {
	prog programs.Portable
	// base are seconds of the native program: with the full input, and with the small one.
	base, small []float64
	// over are ratios to the native program with the same input, a pair for each round.
	over map[who][]float64
}

// side is one of what runs in turn.
type side struct {
	who
	small bool
	run   func(ctx context.Context) (float64, []byte, error)
}

// measure runs a program on all sides.
func (w *workshop) measure(ctx context.Context, p *programs.Portable) (*figures, error) {
	bin, err := w.module(ctx, p)
	if err != nil {
		return nil, err
	}
	full := p.Full
	if w.o.quick {
		full = p.Small
	}
	var sides []side
	for _, in := range []struct {
		kinds []string
		args  []string
		small bool
	}{{w.compiled, full, false}, {w.interpreted, p.Small, true}} {
		if len(in.kinds) == 0 {
			continue
		}
		for _, compiler := range []string{baseline(p.Lang), clang} {
			if compiler == clang && (p.Lang != programs.C || in.small) {
				continue
			}
			file, err := w.natives.build(ctx, p, compiler)
			if compiler == clang && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			sides = append(sides, side{who{compiler, plain}, in.small, func(ctx context.Context) (float64, []byte, error) {
				return execute(ctx, file, in.args)
			}})
		}
		for _, s := range each(in.kinds) {
			prog, done, err := w.prepare(ctx, s, p.Lang, bin)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", s, err)
			}
			defer done()
			sides = append(sides, side{s, in.small, func(ctx context.Context) (float64, []byte, error) {
				return compute(ctx, prog, s.v.tracker(), p.Lang, in.args)
			}})
		}
	}
	times, err := alternate(ctx, !w.o.quick, w.o.rounds, sides)
	if err != nil {
		return nil, err
	}
	return assemble(p, sides, times), nil
}

// prepare makes code of a program, until done is called. That of the programs in Go, which are one module, is kept.
func (w *workshop) prepare(ctx context.Context, s who, lang programs.Language, bin []byte) (prog *migrate.Program, done func(), err error) {
	if lang != programs.Go {
		if prog, err = prepare(ctx, w.engines[s.name], bin, s.v); err != nil {
			return nil, nil, err
		}
		return prog, func() { _ = prog.Close(ctx) }, nil
	}
	if w.inGo[s] == nil {
		if prog, err = prepare(ctx, w.engines[s.name], bin, s.v); err != nil {
			return nil, nil, err
		}
		w.inGo[s] = prog
	}
	return w.inGo[s], func() {}, nil
}

// module is a program's code.
func (w *workshop) module(ctx context.Context, p *programs.Portable) ([]byte, error) {
	if p.Lang == programs.Go {
		return w.natives.goModule(ctx)
	}
	return programs.Wasm(p.Name), nil
}

// alternate runs the sides in turn, the order turned round each time, and gives the seconds of each; warm: once more
// before that. Sides with the same input must say the same.
func alternate(ctx context.Context, warm bool, rounds int, sides []side) ([][]float64, error) {
	times := make([][]float64, len(sides))
	want := map[bool][]byte{}
	// The collector would run beside one side and not beside another.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	first := 0
	if warm {
		first = -1
	}
	for round := first; round < rounds; round++ {
		for k := range sides {
			if round%2 != 0 {
				k = len(sides) - 1 - k
			}
			s := &sides[k]
			runtime.GC()
			took, out, err := s.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", s.who, err)
			}
			if want[s.small] == nil {
				want[s.small] = out
			}
			if !bytes.Equal(out, want[s.small]) {
				return nil, fmt.Errorf("%v: output is %q, others say %q", s.who, out, want[s.small])
			}
			if round >= 0 {
				times[k] = append(times[k], took)
			}
		}
	}
	return times, nil
}

// assemble makes ratios of times.
func assemble(p *programs.Portable, sides []side, times [][]float64) *figures {
	f := &figures{prog: *p, over: map[who][]float64{}}
	base := map[bool][]float64{}
	for k, s := range sides {
		if s.name == baseline(p.Lang) {
			base[s.small] = times[k]
		}
	}
	f.base, f.small = base[false], base[true]
	for k, s := range sides {
		if s.name != baseline(p.Lang) {
			f.over[s.who] = measure.Ratios(base[s.small], times[k])
		}
	}
	return f
}
