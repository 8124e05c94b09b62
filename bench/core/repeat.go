package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/examples"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/runner"
)

// repeat measures the bytes of state that go up and come down in the first offload of a function and in later ones.
func repeat(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("repeat", "bytes of state of an offload: the function's first, and the median and the largest of its later ones",
		"program", "function", "offloads", "first up", "later up", "largest up", "later/first", "first down", "later down")
	t.Note("first up is the function's own first offload; the clone may hold most of the state by then, from others'.")
	cases := []struct {
		j    *job
		only []string // functions; nil: as they are chosen
	}{
		{&job{name: "state, 64 MiB", wasm: programs.Wasm("state"), args: []string{"state", "64", "8"}}, []string{"change"}},
	}
	for _, p := range programs.List() {
		if slices.Contains([]string{"lines", "nbody", "sha256", "mandelbrot"}, p.Name) {
			cases = append(cases, struct {
				j    *job
				only []string
			}{&job{name: p.Name, wasm: programs.Wasm(p.Name), args: []string{p.Name, p.Compiled}}, nil})
		}
	}
	for name, only := range map[string][]string{"imagesearch": {"search_photo", "image_load"}, "behaviour": {"words_number", "history_read"}} {
		e, err := examples.Lookup(name)
		if err != nil {
			return nil, err
		}
		j, err := exampleJob(o, e, examples.Small)
		if err != nil {
			return nil, err
		}
		cases = append(cases, struct {
			j    *job
			only []string
		}{j, only})
	}
	for _, c := range cases {
		if !strings.Contains(c.j.name, o.filter) {
			continue
		}
		if err := repeatOne(ctx, o, t, c.j, c.only); err != nil {
			return []*measure.Table{t}, fmt.Errorf("%s: %w", c.j.name, err)
		}
	}
	return []*measure.Table{t}, nil
}

func repeatOne(ctx context.Context, o *options, t *measure.Table, j *job, only []string) error {
	w, err := newWorld(wazero.Compiler, o.node)
	if err != nil {
		return err
	}
	defer w.close(ctx)
	tap := &tap{}
	// _start and main hold the whole run: they stay, so that what they call moves.
	policy := forced(tap, 8, 0, 0.0005)
	r, _, err := w.run(ctx, j, func(cfg *runner.Config) {
		cfg.Policy = policy
		if cfg.Analysis.Only = only; only != nil {
			return
		}
		cfg.Analysis.Exclude = []string{"_start", "main"}
		if m := j.wasm; strings.Contains(string(m), "_start.command_export") {
			cfg.Analysis.Exclude = append(cfg.Analysis.Exclude, "_start.command_export")
		}
	})
	if err != nil {
		return err
	}
	for id, log := range tap.log {
		if len(log) < 3 {
			continue
		}
		var up, down []float64
		for _, o := range log[1:] {
			up, down = append(up, float64(o.Up)), append(down, float64(o.Down))
		}
		first := float64(log[0].Up)
		t.Add(j.name, r.Functions[id].Name, len(log), first, measure.Median(up), quantile(up, 1), measure.Median(up)/first, float64(log[0].Down), measure.Median(down))
	}
	return nil
}

// exampleJob makes up the input of an example.
func exampleJob(o *options, p examples.Program, size examples.Size) (*job, error) {
	dir := filepath.Join(o.scratch, p.Name+"-"+size.String())
	if err := p.Generate(dir, size, 1); err != nil {
		return nil, err
	}
	m, err := mount(dir, examples.Mount)
	return &job{name: p.Name, wasm: p.Wasm, args: p.Args, mount: m, exit: p.Exit}, err
}
