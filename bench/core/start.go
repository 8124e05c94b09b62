package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
)

// start measures whole processes of the built command: with a cloud within them, and without.
func start(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("start", "whole runs of the command, with --cloud local --offload auto and without a cloud",
		"program", "code", "alone ms", "with cloud ms", "extra ms", "extra low", "extra high", "extra %", "alone cpu ms", "cloud cpu ms", "extra cpu ms", "within")
	t.Note("extra: the median of the differences of pairs; within: at most 50 ms or 5 %%, whichever is more.")
	dir := filepath.Join(o.scratch, "start")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	command := filepath.Join(dir, "clonecloud")
	if err := goBuild(ctx, command, "./cmd/clonecloud"); err != nil {
		return nil, err
	}
	gofile := filepath.Join(dir, "virusscan.wasm")
	if err := goBuild(ctx, gofile, "./examples/virusscan", "GOOS=wasip1", "GOARCH=wasm"); err != nil {
		return nil, err
	}
	for _, name := range []string{"fib", "nbody"} {
		if err := os.WriteFile(filepath.Join(dir, name+".wasm"), programs.Wasm(name), 0o644); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(gofile)
	if err != nil {
		return nil, err
	}
	goName := fmt.Sprintf("Go, %.1f MB, usage only", float64(info.Size())/1e6)
	// Under auto a clone on the device's own engine is not made ready unless it is waited for.
	const ready = "--wait=1us"
	for _, c := range []struct {
		name   string
		args   []string
		rounds int
	}{
		{"C, 11 KB, fib 10", []string{filepath.Join(dir, "fib.wasm"), "10"}, 2 * o.rounds},
		{"C, 11 KB, nbody 1 s", []string{filepath.Join(dir, "nbody.wasm"), "9000000"}, o.rounds},
		{goName, []string{gofile}, 2 * o.rounds},
		{"clone made ready: " + goName, []string{ready, gofile}, 2 * o.rounds},
		{"interpreter: C, 11 KB, fib 10", []string{"--engine", "interpreter", filepath.Join(dir, "fib.wasm"), "10"}, 2 * o.rounds},
		{"interpreter: " + goName, []string{"--engine", "interpreter", gofile}, 2 * o.rounds},
	} {
		for _, cached := range []bool{true, false} {
			if !strings.Contains(c.name, o.filter) {
				continue
			}
			if err := startOne(ctx, t, command, dir, c.name, c.args, c.rounds, cached); err != nil {
				return []*measure.Table{t}, err
			}
		}
	}
	return []*measure.Table{t}, nil
}

func goBuild(ctx context.Context, out, pkg string, env ...string) error {
	c := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	c.Env = append(os.Environ(), env...)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("build %s: %w", pkg, err)
	}
	return nil
}

func startOne(ctx context.Context, t *measure.Table, command, dir, name string, args []string, rounds int, cached bool) error {
	flags := []string{"run"}
	code := "cached"
	if !cached {
		flags, code = append(flags, "--no-cache"), "compiled"
	}
	alone := append(flags[:len(flags):len(flags)], args...)
	cloud := append(append(flags[:len(flags):len(flags)], "--cloud", "local", "--offload", "auto"), args...)
	if cached { // a short run ends before its clone's code is there to be kept
		warm := append([]string{"run", "--cloud", "local", "--offload", "always"}, args...)
		if _, _, err := process(ctx, dir, command, warm); err != nil {
			return err
		}
	}
	var wall, cpu [2][]float64
	var diff, work []float64
	for round := -1; round < rounds; round++ {
		for k := range 2 {
			if round%2 != 0 {
				k = 1 - k
			}
			w, c, err := process(ctx, dir, command, [][]string{alone, cloud}[k])
			if err != nil {
				return err
			}
			if round >= 0 {
				wall[k], cpu[k] = append(wall[k], w), append(cpu[k], c)
			}
		}
		if round >= 0 {
			diff = append(diff, wall[1][round]-wall[0][round])
			work = append(work, cpu[1][round]-cpu[0][round])
		}
	}
	b := bootstrapDifference(diff)
	base := measure.Median(wall[0])
	t.Add(name, code, base, measure.Median(wall[1]), b.mid, b.lo, b.hi, 100*b.mid/base, measure.Median(cpu[0]), measure.Median(cpu[1]), measure.Median(work), b.mid <= max(50, base/20))
	return nil
}

// process runs the command: milliseconds from start to end, and of the processors.
func process(ctx context.Context, dir, command string, args []string) (wall, cpu float64, err error) {
	c := exec.CommandContext(ctx, command, args...)
	c.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	var out strings.Builder
	c.Stderr = &out
	begin := time.Now()
	err = c.Run()
	wall = float64(time.Since(begin)) / 1e6
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() < 100 {
		err = nil // the program's own
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%v: %w: %s", args, err, out.String())
	}
	s := c.ProcessState
	return wall, float64(s.UserTime()+s.SystemTime()) / 1e6, nil
}
