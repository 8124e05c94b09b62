package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// variant says which code of a module runs.
type variant int

const (
	plain     variant = iota // the module as it is
	cloned                   // what a clone runs: with polls, writes are noticed
	canonical                // what it runs where NaNs may differ between device and clone
	variants
)

func (v variant) String() string { return [...]string{"plain", "clone", "clone, NaN"}[v] }

// rewriting is how a clone's code is made of a module with these candidates.
func rewriting(v variant, candidates []uint32) rewrite.Options {
	options := wire.OptionPoll
	if v == canonical {
		options |= wire.OptionCanonicalNaN
	}
	return clone.Variant(candidates, options)
}

// candidates are the functions that a device would choose, ascending.
func candidates(m *wasm.Module) ([]uint32, error) {
	r, err := analysis.Analyze(m, analysis.Options{})
	if err != nil {
		return nil, err
	}
	slices.Sort(r.Candidates)
	return r.Candidates, nil
}

// prepare makes a variant of a module.
func prepare(ctx context.Context, eng engine.Engine, bin []byte, v variant) (*migrate.Program, error) {
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, err
	}
	if v == plain {
		return migrate.Plain(ctx, eng, migrate.Identity(bin), m, bin)
	}
	cs, err := candidates(m)
	if err != nil {
		return nil, err
	}
	return migrate.Prepare(ctx, eng, migrate.Identity(bin), m, rewriting(v, cs))
}

// tracker is how writes are noticed in a variant.
func (v variant) tracker() linmem.Tracker {
	if v == plain {
		return linmem.None
	}
	return linmem.Auto
}

// mark is a guest's stderr: it takes the time of the first word there, which says that the guest begins to compute.
type mark struct {
	at    time.Duration
	words bytes.Buffer
}

// Write implements io.Writer.
func (m *mark) Write(p []byte) (int, error) {
	if m.words.Len() == 0 {
		m.at = measure.ThreadTime()
	}
	return m.words.Write(p)
}

// result is a guest's stdout: it takes the time of the last word there.
type result struct {
	at  time.Duration
	out bytes.Buffer
}

// Write implements io.Writer.
func (r *result) Write(p []byte) (int, error) {
	r.at = measure.ThreadTime()
	return r.out.Write(p)
}

// compute runs a program in a fresh instance: the seconds of the processor that it computed, and its output.
func compute(ctx context.Context, prog *migrate.Program, t linmem.Tracker, lang programs.Language, args []string) (float64, []byte, error) {
	var begun mark
	var done result
	sys, err := local.New(local.Config{Stdout: &done, Stderr: &begun})
	if err != nil {
		return 0, nil, err
	}
	defer sys.Close()
	w := &wasi.Process{State: sys.NewState(append([]string{"program"}, args...), nil, [32]byte{1}), System: sys}
	proc, err := prog.Start(ctx, migrate.Linkage{WASI: w, Tracker: t})
	if err != nil {
		return 0, nil, err
	}
	defer proc.Inst.Close(ctx)
	start := proc.Inst.Func("_start")
	if start == nil {
		return 0, nil, errors.New("there is no _start")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := measure.ThreadTime()
	err = start.Call(ctx, nil)
	end := measure.ThreadTime()
	var exit *wasi.ExitError
	if errors.As(err, &exit) && exit.Code == 0 {
		err = nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s", err, begun.words.Bytes())
	}
	if lang != programs.C { // whose start is next to nothing
		if begun.words.Len() == 0 || done.out.Len() == 0 {
			return 0, nil, errors.New("it does not say when it begins or ends")
		}
		begin, end = begun.at, done.at
	}
	return (end - begin).Seconds(), done.out.Bytes(), nil
}
