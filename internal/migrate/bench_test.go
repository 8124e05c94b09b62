package migrate_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// goProgram is a program of some megabytes, compiled by Go.
func goProgram(tb testing.TB) []byte {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "program.wasm")
	cmd := exec.Command("go", "build", "-o", out, "../../examples/virusscan")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		tb.Skipf("cannot build a program: %v\n%s", err, msg)
	}
	bin, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// private is how much memory this process shares with nobody, or false where the system does not tell.
func private() (n uint64, ok bool) {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && bytes.HasPrefix(f[0], []byte("Private_")) {
			kb, err := strconv.ParseUint(string(f[1]), 10, 64)
			if err != nil {
				return 0, false
			}
			n += kb << 10
		}
	}
	return n, true
}

// BenchmarkFurtherClone starts one more instance of a program that is compiled, ready to run and tracked, and ends it. B/clone
// is the memory that each of 50 instances takes that run side by side and have written nothing.
func BenchmarkFurtherClone(b *testing.B) {
	bin := goProgram(b)
	for _, kind := range engines.Kinds() {
		if kind == engines.Interpreter {
			continue // is no clone's
		}
		b.Run(kind, func(b *testing.B) {
			eng, err := engines.New(kind, "")
			if err != nil {
				b.Fatal(err)
			}
			defer eng.Close(context.Background())
			benchClones(b, eng, bin)
		})
	}
}

func benchClones(b *testing.B, eng engine.Engine, bin []byte) {
	ctx := context.Background()
	m, err := wasm.Decode(bin)
	if err != nil {
		b.Fatal(err)
	}
	hosts, err := migrate.HostsOf(m, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range []struct {
		name string
		opt  rewrite.Options
	}{
		{"shared-image", rewrite.Options{StripDebug: true, Poll: rewrite.PollOuterLoops, Detach: true}},
		{"own-image", rewrite.Options{StripDebug: true, Poll: rewrite.PollOuterLoops}},
	} {
		b.Run(v.name, func(b *testing.B) {
			prog, err := migrate.Prepare(ctx, eng, migrate.Identity(bin), m, v.opt)
			if err != nil {
				b.Fatal(err)
			}
			start := func() *migrate.Process {
				w := &wasi.Process{State: wasi.NewState(nil, nil, [32]byte{})}
				p, err := prog.Start(ctx, migrate.Linkage{WASI: w, Hosts: hosts})
				if err != nil {
					b.Fatal(err)
				}
				return p
			}
			const n = 50
			open := []*migrate.Process{start()} // what all share is there
			before, ok := private()
			for range n {
				open = append(open, start())
			}
			after, _ := private()
			for _, p := range open {
				if err := p.Inst.Close(ctx); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if err := start().Inst.Close(ctx); err != nil {
					b.Fatal(err)
				}
			}
			if ok {
				b.ReportMetric(float64(int64(after-before))/n, "B/clone")
			}
			if err := prog.Close(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}
