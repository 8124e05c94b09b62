package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// labHosts are the functions that testdata/hosts.c imports. They remember: one call too many or too few, or in another
// order, changes all that follow.
func labHosts(told func(format string, args ...any)) migrate.Hosts {
	calls := 0
	digest := func(b []byte) uint32 {
		h := fnv.New32a()
		h.Write(b)
		return h.Sum32()
	}
	call := func(f func(c *migrate.HostCall) error) func(context.Context, *migrate.HostCall) error {
		return func(_ context.Context, c *migrate.HostCall) error {
			calls++
			line := fmt.Sprintf("%d %d", calls, c.Params)
			for _, r := range c.Ranges {
				line += fmt.Sprintf(" %d:%08x", len(r), digest(r))
			}
			told("%s", line)
			return f(c)
		}
	}
	in, out, both := wire.DirIn, wire.DirOut, wire.DirInOut
	return migrate.Hosts{"lab": {
		"next": {Call: call(func(c *migrate.HostCall) error {
			c.SetI32(0, c.I32(0)+int32(calls))
			return nil
		})},
		"mix": {Ranges: []wire.HostRange{{Pointer: 0, Length: 1, Size: 1, Direction: in}, {Pointer: 2, Length: 3, Size: 1, Direction: out}},
			Call: call(func(c *migrate.HostCall) error {
				n := min(len(c.Ranges[0]), len(c.Ranges[1])) - calls%7
				for i := range n {
					c.Ranges[1][i] = c.Ranges[0][i]*3 + byte(calls)
				}
				c.Ranges[1] = c.Ranges[1][:n]
				c.SetI32(0, int32(n))
				return nil
			})},
		"swap": {Ranges: []wire.HostRange{{Pointer: 0, Count: 4, Size: 4, Direction: both}}, Call: call(func(c *migrate.HostCall) error {
			b := c.Ranges[0]
			first := binary.LittleEndian.Uint32(b)
			copy(b, b[4:])
			binary.LittleEndian.PutUint32(b[12:], first+uint32(calls))
			return nil
		})},
		"sum": {Ranges: []wire.HostRange{{Pointer: 0, Length: 1, Size: 2, Direction: in}, {Pointer: 2, Count: 1, Size: 8, Direction: out}},
			Call: call(func(c *migrate.HostCall) error {
				s := int64(calls)
				for b := c.Ranges[0]; len(b) > 0; b = b[2:] {
					s += int64(binary.LittleEndian.Uint16(b))
				}
				c.SetI64(0, s)
				binary.LittleEndian.PutUint64(c.Ranges[1], math.Float64bits(float64(s)/float64(c.I32(1))))
				return nil
			})},
		"look": {Pinned: true, Call: call(func(c *migrate.HostCall) error {
			b := make([]byte, c.Params[1])
			if err := c.Memory.Read(uint32(c.Params[0]), b); err != nil {
				return err
			}
			b[0]++
			c.SetI32(0, int32(digest(b)))
			return c.Memory.Write(uint32(c.Params[0]), b)
		})},
		"fail": {Call: call(func(c *migrate.HostCall) error { return errors.New("as it was asked to") })},
	}}
}

func hostsCase(t testing.TB, arg string) Case {
	t.Helper()
	bin, err := os.ReadFile("testdata/hosts.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return Case{Name: "hosts " + arg, Module: bin, Args: []string{"hosts", arg}, Hosts: labHosts}
}

// hostsAlone runs it on the device alone, with each of its ends.
func hostsAlone(t *testing.T, l *Lab) map[string]*Outcome {
	t.Helper()
	want := map[string]*Outcome{}
	for arg, end := range map[string]string{
		"": "exit status", "outside": "wasm trap: out of bounds memory access", "fail": "failed: host function lab.fail: as it was asked to",
	} {
		o, err := l.Run(context.Background(), hostsCase(t, arg), Way{Canonical: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.End) < len(end) || o.End[:len(end)] != end || len(o.Called) < 1000 || len(o.Stdout) < 500 {
			t.Fatalf("%q ends with %s, having called\n%s", arg, o.End, o.Called)
		}
		want[arg] = o
	}
	return want
}

// TestHostFunctions calls functions of the embedder in all forms from clones: each call happens once, in its order, with the
// same bytes.
func TestHostFunctions(t *testing.T) {
	l := newLab(t)
	want := hostsAlone(t, l)
	ways := []Way{
		{Device: Compiler, Clone: Compiler, Canonical: true},
		{Device: Compiler, Clone: Compiler, Canonical: true, All: true, First: 50, Sample: 0.2, Skip: 0.3, Seed: 1},
		{Device: Compiler, Clone: Compiler, Canonical: true, All: true, Deep: true, First: 1000, Seed: 2},
		{Device: Interpreter, Clone: Compiler, Canonical: true, All: true, Deep: true, First: 1000, Seed: 3, Tracker: linmem.Compare},
		{Device: Compiler, Clone: Interpreter, Canonical: true, All: true, First: 100, Skip: 0.2, Seed: 4},
	}
	if list := chosen(); list != nil {
		few := ways
		ways = nil
		for i, pair := range list {
			ways = append(ways, few[i%len(few)].between(pair))
		}
	}
	for _, w := range ways {
		for arg := range want {
			t.Run(fmt.Sprintf("%s-%s-seed%d-%s", w.Device, w.Clone, w.Seed, arg), func(t *testing.T) {
				got, err := l.Run(context.Background(), hostsCase(t, arg), w)
				if err != nil {
					t.Fatal(err)
				}
				if d := Diff(want[arg], got); d != "" {
					t.Errorf("way %v:\n%s\nlog: %v", w, d, got.Log)
				}
				home := 0
				for _, f := range got.Report.Functions {
					home += f.HomeCalls
					if f.Name == "pinned" || f.Name == "round_of" && f.Offloads > 0 {
						t.Errorf("%s moved, which reaches a pinned function: %+v", f.Name, f)
					}
				}
				if done, fallbacks := got.Report.Offloads(); done < 3 || home < 3 || fallbacks > 0 {
					t.Errorf("%d offloads with %d home calls, %d fallbacks: too little, or too much, to mean anything", done, home, fallbacks)
				}
			})
		}
	}
}

// TestHostCuts breaks such runs at random points: replays are answered from the journal, bytes and all, and no call
// happens twice.
func TestHostCuts(t *testing.T) {
	runs := uint64(100)
	switch {
	case *full:
		runs = 5000
	case testing.Short():
		runs = 20
	}
	l := newLab(t)
	want := hostsAlone(t, l)
	args := []string{"", "", "", "outside", "fail"}
	var s tally
	var mu sync.Mutex
	struck := 0
	one := func(seed uint64) {
		w, arg := cutWay(seed), args[seed%uint64(len(args))]
		w.Trace = true
		c := hostsCase(t, arg)
		got, err := l.Run(context.Background(), c, w)
		if err != nil {
			t.Errorf("seed %d: way %v: %v", seed, w, err)
			return
		}
		if d := Diff(want[arg], got); d != "" {
			t.Errorf("seed %d: way %v:\n%s\nlog: %v\n%s", seed, w, d, got.Log, failedCut(c, w, got, d))
		}
		mu.Lock()
		defer mu.Unlock()
		s.add(got)
		if got.Fired > 0 {
			struck++
		}
	}
	if !eachSeed(t, 4, runs, one) {
		return
	}
	t.Logf("%d runs, %d with a fault that struck; %v", runs, struck, &s)
	if n := int(runs); !t.Failed() && (struck < n/3 || s.fallbacks < n/10 || s.offloads < n) {
		t.Errorf("too little was broken to mean anything")
	}
}

// TestHostWrites: what the host writes into the memory between calls travels, however writes are noticed.
func TestHostWrites(t *testing.T) {
	bin, err := os.ReadFile("../../testdata/plugin/plugin.wasm")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	for i, tracker := range []linmem.Tracker{linmem.Auto, linmem.Compare} {
		t.Run(tracker.String(), func(t *testing.T) {
			w := onSite(Way{Device: Compiler, Clone: Compiler, All: true, First: 100, Seed: uint64(i)})
			eng, err := l.Engine(w.Device)
			if err != nil {
				t.Fatal(err)
			}
			h, err := l.host(w)
			if err != nil {
				t.Fatal(err)
			}
			cfg := runner.Config{Module: bin, Engine: eng, Tracker: tracker}
			connect(&cfg, h, w)
			in, err := runner.Load(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close(context.Background())
			room, err := in.Call(t.Context(), "room", nil)
			if err != nil {
				t.Fatal(err)
			}
			text := make([]byte, 20_000)
			for round := range 5 {
				text[round*4000]++
				if err := in.Process().Memory().Write(uint32(room[0]), text); err != nil {
					t.Fatal(err)
				}
				want := fnv.New32a()
				want.Write(text)
				if got, err := in.Call(t.Context(), "hash", []uint64{uint64(len(text)), 1}); err != nil || got[0] != uint64(want.Sum32()) {
					t.Errorf("round %d: %08x, %v, want %08x", round, got, err, want.Sum32())
				}
			}
			r, err := in.Finish(nil)
			if done, failed := r.Offloads(); err != nil || done != 6 || failed > 0 || tracker != linmem.Auto && r.Tracker != tracker.String() {
				t.Errorf("%d offloads, %d fallbacks, tracker %s, %v", done, failed, r.Tracker, err)
			}
		})
	}
}
