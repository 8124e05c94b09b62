package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

var modes = []wazero.Mode{wazero.Compiler, wazero.Interpreter}

// job is one run of a program.
type job struct {
	name  string
	wasm  []byte
	args  []string
	stdin []byte
	env   []string
	mount []local.Mount
	exit  uint32
	setup func() error // before each run; nil: nothing
}

// variant is code to compare.
type variant struct {
	name string
	prog *migrate.Program
	// tracker notices writes; None where memory is not looked at.
	tracker linmem.Tracker
}

// places are the variants of a module's layout. wazero begins functions at multiples of 16 bytes, and a hot loop may
// run a fifth slower at another place within the processor's lines of 64: what is compared is compared at each of them.
const places = 4

// shift moves all but the first function of a module by lengthening the first, which must run rarely.
func shift(bin []byte, place int) ([]byte, error) {
	m, err := wasm.Decode(bin)
	if err != nil || place == 0 {
		return bin, err
	}
	globals := m.GlobalTypes()
	if len(m.Funcs) == 0 || len(globals) == 0 || !globals[0].Mutable {
		return bin, nil
	}
	var code []byte
	for range 2 * place { // each some 8 bytes of machine code
		code = wasm.AppendIndex(wasm.AppendIndex(code, wasm.OpGlobalGet, 0), wasm.OpGlobalSet, 0)
	}
	m.Funcs[0].Body.Code = append(code, m.Funcs[0].Body.Code...)
	return m.Encode(), nil
}

// wrapping says what a variant does with the functions that the analysis chooses.
type wrapping byte

const (
	ignore wrapping = iota
	wrap
)

// build makes a variant of a module.
func build(ctx context.Context, eng engine.Engine, name string, bin []byte, how wrapping, opt rewrite.Options) (*variant, int, error) {
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, 0, err
	}
	v := &variant{name: name, tracker: linmem.None}
	if how == ignore && !opt.CanonicalNaN && opt.Poll == rewrite.PollNone {
		v.prog, err = migrate.Plain(ctx, eng, migrate.Identity(bin), m, bin)
		return v, 0, err
	}
	if how == wrap {
		r, err := analysis.Analyze(m, analysis.Options{Alone: true})
		if err != nil {
			return nil, 0, err
		}
		opt.Wrap, opt.Candidates = true, r.Candidates
		for _, f := range r.Funcs {
			opt.SCC = append(opt.SCC, f.SCC)
		}
	}
	v.prog, err = migrate.Prepare(ctx, eng, migrate.Identity(bin), m, opt)
	return v, len(opt.Candidates), err
}

// hooks are for wrappers that are never armed.
func hooks(m *rewrite.Manifest) map[string]engine.HostFunc {
	bug := func(context.Context, engine.Instance, []uint64) error {
		return errors.New("BUG: a wrapper that is not armed asks")
	}
	i32 := []byte{engine.I32}
	h := map[string]engine.HostFunc{
		rewrite.ImportEnter: {Params: i32, Results: i32, Call: bug},
		rewrite.ImportLeave: {Params: i32, Call: bug},
	}
	for _, c := range m.Candidates {
		h[c.Call] = engine.HostFunc{Params: c.Params, Results: append(bytes.Clone(c.Results), engine.I32), Call: bug}
	}
	return h
}

// execute runs j once in a fresh instance; the time is that of the processor from the first instruction to the last.
func (v *variant) execute(ctx context.Context, j *job) (seconds float64, out []byte, err error) {
	if j.setup != nil {
		if err := j.setup(); err != nil {
			return 0, nil, err
		}
	}
	var stdout bytes.Buffer
	sys, err := local.New(local.Config{Stdin: bytes.NewReader(j.stdin), Stdout: &stdout, VirtualClock: true, Mounts: j.mount})
	if err != nil {
		return 0, nil, err
	}
	defer sys.Close()
	w := &wasi.Process{State: sys.NewState(j.args, j.env, [32]byte{1}), System: sys}
	proc, err := v.prog.Start(ctx, migrate.Linkage{WASI: w, Hooks: hooks(v.prog.Manifest), Tracker: v.tracker})
	if err != nil {
		return 0, nil, err
	}
	defer proc.Inst.Close(ctx)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := measure.ThreadTime()
	err = proc.Inst.Func("_start").Call(ctx, nil)
	took := measure.ThreadTime() - begin
	var exit *wasi.ExitError
	if errors.As(err, &exit) && exit.Code == j.exit {
		err = nil
	}
	return took.Seconds(), stdout.Bytes(), err
}

// alternate runs the variants in turn, the order turned round each time, and gives the seconds of each. Their output
// must be the same.
func alternate(ctx context.Context, rounds int, j *job, vs []*variant) ([][]float64, error) {
	times := make([][]float64, len(vs))
	var want []byte
	// The collector would run beside one variant and not beside another.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := -1; round < rounds; round++ {
		for k := range vs {
			if round%2 != 0 {
				k = len(vs) - 1 - k
			}
			runtime.GC()
			s, out, err := vs[k].execute(ctx, j)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", j.name, vs[k].name, err)
			}
			if want == nil {
				want = out
			}
			if !bytes.Equal(out, want) {
				return nil, fmt.Errorf("%s, %s: another output than the plain module's", j.name, vs[k].name)
			}
			if round >= 0 { // the first warms up
				times[k] = append(times[k], s)
			}
		}
	}
	return times, nil
}
