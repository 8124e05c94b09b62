package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/examples"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// demo runs the examples as the command does: on an interpreter alone and with a clone on a compiler; and on a compiler alone
// and with `auto` and a clone that is no faster.
func demo(ctx context.Context, o *options) ([]*measure.Table, error) {
	gain := newTable("demo", "an interpreting device alone, and with a clone on the same machine (code cached), node: "+o.node,
		"program", "size", "alone s", "with clone s", "speed-up", "low", "high", "on the clone %", "offloads", "bytes up", "bytes down")
	gain.Note("Whole runs: start, analysis, rewriting and making the clone ready are in them.")
	even := newTable("even", "a compiling device alone, and with auto and a clone that is no faster (code cached)",
		"program", "size", "never s", "auto s", "auto/never", "low", "high")
	whole := newTable("wholly", "an interpreting device with a clone, over all of it on the clone's engine (code there already), node: "+o.node,
		"program", "size", "wholly s", "with clone s", "wholly/with", "low", "high")
	tables := []*measure.Table{gain, whole}
	if o.node == engines.Compiler {
		tables = append(tables, even)
	}
	cache := filepath.Join(o.scratch, "code")
	for _, p := range examples.Programs() {
		if !strings.Contains(p.Name, o.filter) {
			continue
		}
		if len(p.Wasm) == 0 {
			file := filepath.Join(o.scratch, p.Name+".wasm")
			if err := goBuild(ctx, file, "./"+p.Source, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
				return tables, err
			}
			var err error
			if p.Wasm, err = os.ReadFile(file); err != nil {
				return tables, err
			}
		}
		if err := gainOne(ctx, o, gain, p, cache); err != nil {
			return tables, fmt.Errorf("%s: %w", p.Name, err)
		}
		if err := wholeOne(ctx, o, whole, p, cache); err != nil {
			return tables, fmt.Errorf("%s: %w", p.Name, err)
		}
		if o.node != engines.Compiler {
			continue // a clone is faster
		}
		if err := evenOne(ctx, o, even, p, cache); err != nil {
			return tables, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return tables, nil
}

func gainOne(ctx context.Context, o *options, t *measure.Table, p examples.Program, cache string) error {
	alone := clonecloud.Config{Engine: clonecloud.EngineInterpreter, Offload: clonecloud.OffloadNever}
	with := clonecloud.Config{Engine: clonecloud.EngineInterpreter, CloneWait: 10 * time.Second}
	size := examples.Medium
	as, bs, r, err := pairs(ctx, o, p, size, cache, max(o.rounds/7, 2), alone, with)
	if err != nil {
		return err
	}
	b := bootstrap(measure.Ratios(bs, as))
	var up, down uint64
	for _, f := range r.Functions {
		up, down = up+f.Up, down+f.Down
	}
	done, _ := r.Offloads()
	t.Add(p.Name, size.String(), measure.Median(as), measure.Median(bs), b.mid, b.lo, b.hi, 100*r.Share, done, up, down)
	return nil
}

func evenOne(ctx context.Context, o *options, t *measure.Table, p examples.Program, cache string) error {
	alone := clonecloud.Config{Engine: clonecloud.EngineCompiler, Offload: clonecloud.OffloadNever}
	with := clonecloud.Config{Engine: clonecloud.EngineCompiler}
	size := examples.Large
	as, bs, _, err := pairs(ctx, o, p, size, cache, max(o.rounds/2, 3), alone, with)
	if err != nil {
		return err
	}
	b := bootstrap(measure.Ratios(as, bs))
	t.Add(p.Name, size.String(), measure.Median(as), measure.Median(bs), b.mid, b.lo, b.hi)
	return nil
}

// pairs runs a program in turn as a and as b, and gives the seconds of each and b's last report. Outputs must be equal.
func pairs(ctx context.Context, o *options, p examples.Program, size examples.Size, cache string, rounds int, a, b clonecloud.Config) (as, bs []float64, r *clonecloud.Report, err error) {
	dir := filepath.Join(o.scratch, p.Name+"-"+size.String())
	if err := p.Generate(dir, size, 1); err != nil {
		return nil, nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	run := func(cfg clonecloud.Config) (float64, string, *clonecloud.Report, error) {
		var out bytes.Buffer
		cfg.Module, cfg.Args, cfg.Stdout, cfg.Seed, cfg.CacheDir = p.Wasm, p.Args, &out, 1, cache
		cfg.Mounts = []clonecloud.Mount{{Host: dir, Guest: examples.Mount}}
		begin := time.Now()
		cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{CacheDir: cache, Engine: clonecloud.EngineKind(o.node), Worker: []string{self, "worker"}})
		defer cloud.Close()
		if cfg.Offload != clonecloud.OffloadNever {
			cfg.Cloud = cloud
		}
		report, err := clonecloud.Run(ctx, cfg)
		var exit *clonecloud.ExitError
		if errors.As(err, &exit) && exit.Code == p.Exit {
			err = nil
		}
		return time.Since(begin).Seconds(), out.String(), report, err
	}
	for round := -1; round < rounds; round++ {
		var took [2]float64
		var out [2]string
		for k := range 2 {
			if round%2 != 0 {
				k = 1 - k
			}
			var report *clonecloud.Report
			if took[k], out[k], report, err = run([]clonecloud.Config{a, b}[k]); err != nil {
				return nil, nil, nil, err
			}
			if k == 1 {
				r = report
			}
		}
		if out[0] != out[1] {
			return nil, nil, nil, errors.New("outputs differ")
		}
		if err := examples.Check(dir, out[0]); err != nil {
			return nil, nil, nil, err
		}
		if round >= 0 {
			as, bs = append(as, took[0]), append(bs, took[1])
		}
	}
	return as, bs, r, nil
}

// wholeOne compares large runs.
func wholeOne(ctx context.Context, o *options, t *measure.Table, p examples.Program, cache string) error {
	size := examples.Large
	with := clonecloud.Config{Engine: clonecloud.EngineInterpreter, CloneWait: 10 * time.Second}
	_, bs, _, err := pairs(ctx, o, p, size, cache, max(o.rounds/2, 3), with, with)
	if err != nil {
		return err
	}
	ws, err := whollyThere(ctx, o, p, size)
	if err != nil {
		return err
	}
	b := bootstrap(measure.Ratios(bs, ws))
	t.Add(p.Name, size.String(), measure.Median(ws), measure.Median(bs), b.mid, b.lo, b.hi)
	return nil
}

// whollyThere gives the seconds of whole runs on the clones' engine, without what making the code takes.
func whollyThere(ctx context.Context, o *options, p examples.Program, size examples.Size) (took []float64, err error) {
	dir := filepath.Join(o.scratch, p.Name+"-"+size.String())
	prog, err := clonecloud.Load(ctx, clonecloud.Config{
		Engine: clonecloud.EngineKind(o.node), Module: p.Wasm, Args: p.Args, Seed: 1, Mounts: []clonecloud.Mount{{Host: dir, Guest: examples.Mount}},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, prog.Close()) }()
	for range max(o.rounds/2, 3) {
		var out bytes.Buffer
		begin := time.Now()
		proc, err := prog.Start(ctx, clonecloud.StartConfig{Stdout: &out})
		if err != nil {
			return nil, err
		}
		err = proc.Main(ctx)
		var exit *clonecloud.ExitError
		if errors.As(err, &exit) && exit.Code == p.Exit {
			err = nil
		}
		if err := errors.Join(err, proc.Close(), examples.Check(dir, out.String())); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin).Seconds())
	}
	return took, nil
}
