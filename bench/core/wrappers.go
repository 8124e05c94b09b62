package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// jobs are the programs for an engine.
func jobs(o *options, mode wazero.Mode, float bool) ([]*job, error) {
	var js []*job
	for _, p := range programs.List() {
		if !strings.Contains(p.Name, o.filter) || float && !p.Float {
			continue
		}
		arg := p.Compiled
		if mode == wazero.Interpreter {
			arg = p.Interpreted
		}
		js = append(js, &job{name: p.Name, wasm: programs.Wasm(p.Name), args: []string{p.Name, arg}})
	}
	if o.corpus == "" || float || mode == wazero.Interpreter {
		return js, nil
	}
	ps, err := corpus.Programs()
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		if !strings.Contains(p.Name, o.filter) {
			continue
		}
		j, err := corpusJob(o, &p)
		if err != nil {
			return nil, err
		}
		js = append(js, j)
	}
	return js, nil
}

// corpusJob is a program's first run.
func corpusJob(o *options, p *corpus.Program) (*job, error) {
	r := p.Runs[0]
	file := p.Wasm
	if r.Wasm != "" {
		file = r.Wasm
	}
	j := &job{name: p.Name, args: r.Args, env: r.Env, exit: r.Exit}
	var err error
	if j.wasm, err = os.ReadFile(filepath.Join(o.corpus, file)); err != nil {
		return nil, err
	}
	if r.Stdin != "" {
		if j.stdin, err = corpus.Input(o.corpus, r.Stdin); err != nil {
			return nil, err
		}
	}
	files := map[string][]byte{} // nil: an empty directory
	for i, d := range p.Dirs {
		host := filepath.Join(o.scratch, p.Name, fmt.Sprint(i))
		for name, input := range d.Files {
			to := filepath.Join(host, filepath.FromSlash(name))
			if files[to] = nil; input == "" {
				continue
			}
			if files[to], err = corpus.Input(o.corpus, input); err != nil {
				return nil, err
			}
		}
		if err := os.MkdirAll(host, 0o755); err != nil {
			return nil, err
		}
		dir, err := vfs.OpenHost(host)
		if err != nil {
			return nil, err
		}
		j.mount = append(j.mount, local.Mount{FS: dir, Guest: d.Guest})
	}
	j.setup = func() error { return fill(filepath.Join(o.scratch, p.Name), files) }
	return j, nil
}

// fill makes the directories below dir hold the files and nothing else. The directories themselves stay, as they are open.
func fill(dir string, files map[string][]byte) error {
	old, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.RemoveAll(f); err != nil {
			return err
		}
	}
	for to, data := range files {
		if data == nil {
			err = os.MkdirAll(to, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
			err = os.WriteFile(to, data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pitch is one way to rewrite, to be compared with the plain module.
type pitch struct {
	name    string
	how     wrapping
	opt     rewrite.Options
	tracker linmem.Tracker
}

func wrappers(ctx context.Context, o *options) ([]*measure.Table, error) {
	return compareAll(ctx, o, "wrappers", false, modes, []pitch{
		{"wrapped", wrap, rewrite.Options{}, linmem.None},
		{"wrapped, tracked", wrap, rewrite.Options{}, linmem.Auto},
	})
}

func variants(ctx context.Context, o *options) ([]*measure.Table, error) {
	nan, err := compareAll(ctx, o, "canonical-nan", true, modes, []pitch{
		{"canonical NaN", ignore, rewrite.Options{CanonicalNaN: true}, linmem.None},
	})
	if err != nil {
		return nan, err
	}
	polls, err := compareAll(ctx, o, "polls", false, modes, []pitch{
		{"polls", ignore, rewrite.Options{Poll: rewrite.PollOuterLoops}, linmem.None},
		{"polls, all loops", ignore, rewrite.Options{Poll: rewrite.PollAllLoops}, linmem.None},
	})
	return append(nan, polls...), err
}

// compareAll makes a table for each engine: pitches over the plain module.
func compareAll(ctx context.Context, o *options, name string, float bool, modes []wazero.Mode, ps []pitch) ([]*measure.Table, error) {
	var all []*measure.Table
	for _, mode := range modes {
		columns := []string{"program", "plain ms", "by place", "candidates"}
		for _, p := range ps {
			columns = append(columns, p.name, p.name+" low", p.name+" high")
		}
		t := newTable(name+"-"+mode.String(), "processor time over the plain module's, with 95 % bounds", columns...)
		t.Note("by place: the plain module's slowest median over its fastest, of %d places in memory.", places)
		all = append(all, t)
		js, err := jobs(o, mode, float)
		if err != nil {
			return all, err
		}
		groups := make([][][]float64, len(ps))
		for _, j := range js {
			rs, err := compareOne(ctx, o, t, mode, j, ps)
			if err != nil {
				return all, err
			}
			for i := range ps {
				groups[i] = append(groups[i], rs[i]...)
			}
		}
		if len(js) == 0 {
			all = all[:len(all)-1]
			continue
		}
		row := []any{"geometric mean", "", "", ""}
		for _, g := range groups {
			b := bootstrap(g...)
			row = append(row, b.mid, b.lo, b.hi)
		}
		t.Add(row...)
	}
	return all, nil
}

// compareOne gives for each pitch the ratios at each place.
func compareOne(ctx context.Context, o *options, t *measure.Table, mode wazero.Mode, j *job, ps []pitch) ([][][]float64, error) {
	eng, err := wazero.New(wazero.Options{Mode: mode})
	if err != nil {
		return nil, err
	}
	defer eng.Close(ctx)
	at := places // an interpreter's code is data, which each compilation puts elsewhere
	var vs []*variant
	candidates := 0
	for place := range at {
		bin, err := shift(j.wasm, place)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", j.name, err)
		}
		for _, p := range append([]pitch{{name: "plain", tracker: linmem.None}}, ps...) {
			v, n, err := build(ctx, eng, p.name, bin, p.how, p.opt)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", j.name, p.name, err)
			}
			v.tracker = p.tracker
			vs, candidates = append(vs, v), max(candidates, n)
		}
	}
	times, err := alternate(ctx, o.rounds, j, vs)
	if err != nil {
		return nil, err
	}
	rs := make([][][]float64, len(ps))
	var plain []float64
	for place := range at {
		base := times[place*(len(ps)+1):]
		plain = append(plain, measure.Median(base[0]))
		for i := range ps {
			rs[i] = append(rs[i], measure.Ratios(base[0], base[i+1]))
		}
	}
	row := []any{j.name, measure.Median(plain) * 1e3, quantile(plain, 1) / quantile(plain, 0), candidates}
	for i := range ps {
		b := bootstrap(rs[i]...)
		row = append(row, b.mid, b.lo, b.hi)
	}
	t.Add(row...)
	return rs, nil
}
