package clone_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/clone"
	side "github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// TestMovesPrograms runs programs whose clone changes engines again and again: their output is that of a run on the device
// alone, and the report says what ran where.
func TestMovesPrograms(t *testing.T) {
	list, err := engines()
	if err != nil {
		t.Fatal(err)
	}
	compilers := list[1:]
	if len(compilers) == 0 {
		t.Skip("there is no compiler")
	}
	nodes := []engine.Engine{named{compilers[0], "first"}, named{compilers[len(compilers)-1], "second"}}
	moved := 0
	for i, p := range programs.List() {
		if testing.Short() && i%3 != 0 {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			here, _ := moving(t, p, compilers[0], nil)
			host := &clone.Host{Engines: nodes, Log: t.Logf}
			defer host.Close(context.Background())
			moving(t, p, compilers[0], host) // so that code is in place
			away, r := moving(t, p, compilers[0], host)
			if !bytes.Equal(here, away) {
				t.Errorf("output\n%s, want\n%s", away, here)
			}
			ran := map[string]int{}
			for _, f := range r.Functions {
				for e, n := range f.Engines {
					ran[e] += n
				}
			}
			done, _ := r.Offloads()
			if sum := ran["first"] + ran["second"]; sum != done || done == 0 {
				t.Errorf("%d offloads, on engines %v", done, ran)
			}
			t.Logf("%d offloads, on engines %v", done, ran)
			moved += min(ran["first"], ran["second"])
		})
	}
	if moved < 4 {
		t.Errorf("%d offloads on another engine", moved)
	}
}

// moving runs a program, on a host that prefers another engine after each offload; nil: here.
func moving(t *testing.T, p programs.Program, eng engine.Engine, host *clone.Host) ([]byte, *side.Report) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	var out bytes.Buffer
	cfg := runner.Config{
		Module: programs.Wasm(p.Name), Engine: eng, Args: []string{p.Name, p.Interpreted}, Seed: [32]byte{1}, CanonicalNaN: true,
		Local: local.Config{Stdout: &out, Stderr: &out, VirtualClock: true},
	}
	if host != nil {
		cfg.Wait = time.Minute
		cfg.Dial = func(context.Context) (link.Link, error) {
			here, there := link.Pipe(0)
			go func() { _ = host.Accept(context.Background(), there) }()
			return here, nil
		}
		cfg.Policy = func(*analysis.Report, []analysis.Func) side.Policy {
			f := side.NewForced(1, 20, 0.001)
			f.Skip, f.Depth = 0.2, 1 // the whole program would be one offload
			return f
		}
		var n atomic.Int64
		id := [32]byte{}
		cfg.Begin = func(module [32]byte) time.Duration { id = module; return 0 }
		cfg.Events = func(e trace.Event) {
			if e.Kind == trace.Offloaded {
				host.Prefer(id, int(n.Add(1)/2%2))
			}
		}
	}
	r, err := runner.Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), &r.Report
}
