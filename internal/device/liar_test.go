package device_test

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

const broke = "going on without a clone: the clone broke a rule: "

// TestLiars runs the guest with clones that lie. Each is found out with one line, and the run ends as one without a
// cloud does, unless the lie was one that only a second clone could find out.
func TestLiars(t *testing.T) {
	want := play(t, nil)
	if want.stdout == "" || want.end != "exit status 3" || len(want.files) != 2 || len(want.stdin) != len(stdin)-16 {
		t.Fatalf("run without a cloud: %+v", want)
	}
	before := runtime.NumGoroutine()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	seen := map[string]bool{}
	for _, c := range slices.Concat(honest(), ends(), states(), deltas(), requests(), outputs(), notes(), manners(), farewells()) {
		if seen[c.name] {
			t.Fatalf("two cases %s", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			got := play(t, &c)
			took := time.Since(start)
			c.judge(t, want, got)
			done, _ := got.report.Offloads()
			end := "as alone"
			if c.end != "" {
				end = got.end
			}
			fmt.Fprintf(w, "%s\t%d merged\t%v\t%s\t%v\t%s\n", c.name, done, slices.Sorted(maps.Keys(fallbacks(got))), end,
				took.Round(time.Millisecond), strings.Join(got.log, " | "))
		})
	}
	w.Flush()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Errorf("%d goroutines are left where %d were", runtime.NumGoroutine(), before)
			break
		}
	}
	t.Logf("%d lies:\n%s", len(seen), table.String())
}

func fallbacks(o *outcome) map[string]int {
	all := map[string]int{}
	for _, f := range o.report.Functions {
		for reason, n := range f.Fallbacks {
			all[reason] += n
		}
	}
	return all
}

func (c *lie) judge(t *testing.T, want, got *outcome) {
	if c.luck && len(got.log) == 0 {
		c.line = ""
	}
	if c.luck && len(fallbacks(got)) > 0 {
		c.reason = "link lost"
	}
	switch {
	case c.line == "" && len(got.log) > 0, c.line != "" && (len(got.log) != 1 || !strings.Contains(got.log[0], c.line)):
		t.Errorf("log is %q, want one line with %q", got.log, c.line)
	}
	for _, l := range got.log {
		if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) || len(l) > 500 {
			t.Errorf("line is not fit to be shown: %q", l)
		}
	}
	if back := strings.Join(slices.Sorted(maps.Keys(fallbacks(got))), ", "); back != c.reason {
		t.Errorf("fallbacks %q, want %q", back, c.reason)
	}
	if c.end != "" {
		if !strings.Contains(got.end, c.end) {
			t.Errorf("end is %q, want %q", got.end, c.end)
		}
		return
	}
	if got.end != want.end || got.stdout != want.stdout || got.stdin != want.stdin || !maps.Equal(got.files, want.files) {
		t.Errorf("end %q, stdout %q, stdin %q, files %v\nwant %q, %q, %q, %v", got.end, got.stdout, got.stdin, got.files,
			want.end, want.stdout, want.stdin, want.files)
	}
	if t.Failed() {
		t.Logf("trace:\n%s", strings.Join(got.trace(), "\n"))
	}
}

// once gives a script that takes an offload in and goes on.
func once(then func(s *stage)) func(s *stage) {
	return func(s *stage) {
		s.ready()
		s.migrate()
		then(s)
	}
}

// spoiled gives a script that answers the first offload of pure with a spoiled Reintegrate.
func spoiled(spoil func(s *stage, r *wire.Reintegrate)) func(s *stage) {
	return once(func(s *stage) {
		r := s.answer(5050)
		spoil(s, r)
		s.back(r)
	})
}

// believed is spoiled for answers that nobody can find fault with.
func believed(spoil func(s *stage, r *wire.Reintegrate)) func(s *stage) {
	return func(s *stage) {
		spoiled(spoil)(s)
		s.migrate()
		s.back(s.answer(55))
	}
}

// honest are clones that do not lie, or whose lies nobody can find out without running the function too.
func honest() []lie {
	return []lie{
		{name: "honest", script: func(s *stage) {
			s.ready()
			for _, result := range []uint64{5050, 55} {
				s.migrate()
				s.back(s.answer(result))
				expect[*wire.Commit](s)
			}
		}},
		{name: "honest_work", function: "work", script: once(func(s *stage) {
			// What the guest does, for the sake of the next cases; then it is given up.
			s.request(wasi.Request{Op: wasi.OpRead, Handle: 1, Size: 8})
			s.send(s.refuse())
			s.tired()
		}), reason: "refused"},
		{name: "exec_time", script: believed(func(_ *stage, r *wire.Reintegrate) { r.ExecNanos = math.MaxUint64 })},
		{name: "next_state", script: believed(func(_ *stage, r *wire.Reintegrate) { r.Image.Next[0]++ })},
		{name: "delta_bytes", script: believed(func(_ *stage, r *wire.Reintegrate) { r.Image.DeltaBytes = 1 << 30 })},
		{name: "grown", script: believed(func(_ *stage, r *wire.Reintegrate) { r.Image.MemoryBytes = 8 << 16 })},
		{name: "handed_back", script: once(func(s *stage) {
			r := s.answer()
			r.Outcome, r.Detail = wire.OutcomeHandedBack, "no\x1b[31m more"
			s.send(r)
			expect[*wire.Sync](s)
			s.send(s.initial())
			s.migrate()
			s.back(s.answer(55))
		}), reason: "handed back"},
		{name: "wrong_result", script: believed(func(_ *stage, r *wire.Reintegrate) { r.Results[0]++ }), end: "exit status 3"},
		{name: "invented_trap", script: spoiled(func(_ *stage, r *wire.Reintegrate) {
			r.Outcome, r.Results, r.Trap = wire.OutcomeTrap, nil, uint8(engine.TrapDivideByZero)
		}), end: "integer divide by zero"},
	}
}

// ends are calls that end as they cannot.
func ends() []lie {
	end := func(name, line string, spoil func(r *wire.Reintegrate)) lie {
		return lie{name: name, line: broke + line, reason: "distrust", script: spoiled(func(_ *stage, r *wire.Reintegrate) { spoil(r) })}
	}
	outcome := func(o wire.Outcome, trap engine.TrapKind) func(r *wire.Reintegrate) {
		return func(r *wire.Reintegrate) { r.Outcome, r.Results, r.Trap, r.Exit = o, nil, uint8(trap), 7 }
	}
	wide := end("f64_more", "2 results of a function that has 1", func(r *wire.Reintegrate) { r.Results = []uint64{1, 2} })
	wide.function = "wide"
	nothing := end("results_of_none", "1 results of a function that has 0", func(r *wire.Reintegrate) {})
	nothing.function = "say"
	return []lie{
		wide, nothing,
		end("results_none", "0 results of a function that has 1", func(r *wire.Reintegrate) { r.Results = nil }),
		end("results_many", "2000 results", func(r *wire.Reintegrate) { r.Results = make([]uint64, 2000) }),
		end("result_wide", "result 0 is out of its type's range", func(r *wire.Reintegrate) { r.Results[0] |= 1 << 32 }),
		end("trap_kind", "trap of kind 11", outcome(wire.OutcomeTrap, engine.NumTrapKinds)),
		end("trap_kind_255", "trap of kind 255", outcome(wire.OutcomeTrap, 255)),
		end("trap_stack", "trap of kind 9", outcome(wire.OutcomeTrap, engine.TrapStackOverflow)),
		end("exit", "exit is out of the candidate's reach", outcome(wire.OutcomeExit, 0)),
		end("exception", "an end with exception", outcome(wire.OutcomeException, 0)),
		end("calls_more", "it made 1 calls where 0 arrived", func(r *wire.Reintegrate) { r.Calls = 1 }),
		end("calls_max", "it made 18446744073709551615 calls where 0 arrived", func(r *wire.Reintegrate) { r.Calls = math.MaxUint64 }),
		end("other_offload", "reintegrate of offload 2.1 in the midst of 1.1", func(r *wire.Reintegrate) { r.Offload++ }),
		end("other_attempt", "reintegrate of offload 1.9 in the midst of 1.1", func(r *wire.Reintegrate) { r.Attempt = 9 }),
	}
}

// states are globals, segments, sizes and WASI states that the process cannot have come to.
func states() []lie {
	state := func(name, line string, spoil func(s *stage, r *wire.Reintegrate)) lie {
		return lie{name: name, line: broke + line, reason: "distrust", script: spoiled(spoil)}
	}
	image := func(name, line string, spoil func(i *wire.Image)) lie {
		return state(name, line, func(_ *stage, r *wire.Reintegrate) { spoil(&r.Image) })
	}
	system := func(name, line string, change func(w *wasi.State)) lie {
		return state(name, line, func(s *stage, r *wire.Reintegrate) { s.wasiState(r, change) })
	}
	insert := func(fd wasi.FD) func(w *wasi.State) { return func(w *wasi.State) { w.Insert(&fd) } }
	// What pure cannot reach is refused whatever it is; work reaches descriptors and clocks, so that their values count.
	work := func(name, line string, change func(w *wasi.State)) lie {
		c := system(name, line, change)
		c.function = "work"
		return c
	}
	return []lie{
		image("globals_none", "state refused: 0 globals", func(i *wire.Image) { i.Globals = nil }),
		image("globals_more", "state refused: 2 globals", func(i *wire.Image) { i.Globals = append(i.Globals, wire.Global{Index: 3, Type: engine.I32}) }),
		image("global_index", "state refused: global 5", func(i *wire.Image) { i.Globals[0].Index = 5 }),
		image("global_type", "state refused: global 0", func(i *wire.Image) { i.Globals[0].Type = engine.I64 }),
		image("segment", "state refused: segment 0", func(i *wire.Image) { i.Dropped = []uint32{0} }),
		image("memory_none", "state refused: memory cannot shrink", func(i *wire.Image) { i.MemoryBytes = 0 }),
		image("memory_smaller", "state refused: memory cannot shrink", func(i *wire.Image) { i.MemoryBytes = 1 << 16 }),
		image("memory_past_maximum", "state refused: memory of 589824 bytes", func(i *wire.Image) { i.MemoryBytes = 9 << 16 }),
		image("memory_4gib", "state refused: memory of 4294967296 bytes", func(i *wire.Image) { i.MemoryBytes = 4 << 30 }),
		image("base", "what came back is based on", func(i *wire.Image) { i.Base[31]++ }),
		image("base_of_confirmed", "what came back is based on", func(i *wire.Image) { i.Base = wire.ID{} }),
		image("wasi_none", "wasi state", func(i *wire.Image) { i.WASI = nil }),
		image("wasi_garbage", "wasi state", func(i *wire.Image) { i.WASI = []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff") }),
		image("wasi_giant", "wasi state", func(i *wire.Image) { i.WASI = make([]byte, wire.MaxWASI) }),
		image("wasi_longer", "wasi state", func(i *wire.Image) { i.WASI = append(i.WASI, 0) }),
		system("arguments", "wasi state: state refused: arguments", func(w *wasi.State) { w.Args[1] = "-rf" }),
		system("arguments_many", "wasi state: state refused: arguments", func(w *wasi.State) { w.Args = make([]string, 50_000) }),
		system("variables", "wasi state: state refused: variables", func(w *wasi.State) { w.Env = append(w.Env, "LD_PRELOAD=x") }),
		system("random", "the random generator is out of", func(w *wasi.State) { w.Rand.Uint64() }),
		system("clock_unreachable", "clocks are out of", func(w *wasi.State) { w.Clocks[wasi.Monotonic]++ }),
		work("clock_backwards", "wasi state: state refused: clock 0", func(w *wasi.State) { w.Clocks[wasi.Realtime]-- }),
		work("clock_huge", "wasi state: state refused: clock 1", func(w *wasi.State) { w.Clocks[wasi.Monotonic] = math.MaxUint64 }),
		work("handle_invented", "wasi state: state refused: descriptor 4: handle 99", insert(wasi.FD{Handle: 99, Type: 4})),
		work("handle_zero", "wasi state: state refused: descriptor 4: handle 0", insert(wasi.FD{})),
		work("handle_twice", "wasi state: state refused: descriptor 4", func(w *wasi.State) { fd := *w.FD(3); w.Insert(&fd) }),
		work("kind", "wasi state: state refused: descriptor 1", func(w *wasi.State) { w.FD(1).Kind = wasi.KindStream }),
		work("type", "wasi state: state refused: descriptor 1", func(w *wasi.State) { w.FD(1).Type = 3 }),
		work("preopen", "wasi state: state refused: descriptor 3", func(w *wasi.State) { w.FD(3).Preopen = "/" }),
		work("preopen_more", "wasi state: state refused: descriptor 1", func(w *wasi.State) { w.FD(1).Preopen = "/etc" }),
		work("rights", "wasi state: state refused: descriptor 0", func(w *wasi.State) { w.FD(0).Base |= wasi.RightWrite }),
		work("rights_all", "wasi state: state refused: descriptor 3", func(w *wasi.State) { w.FD(3).Inheriting = math.MaxUint64 }),
		work("offset", "wasi state: state refused: descriptor 0", func(w *wasi.State) { w.FD(0).Offset = 1 }),
		work("rights_unreachable", "what became of descriptor 0", func(w *wasi.State) { w.FD(0).Base = 0 }),
		work("flags_unreachable", "what became of descriptor 1", func(w *wasi.State) { w.FD(1).Flags = wasi.FDAppend }),
		system("close_unreachable", "closing descriptor 1", func(w *wasi.State) { w.Set(1, nil) }),
		system("swap_unreachable", "closing descriptor 0", func(w *wasi.State) {
			in, out := *w.FD(0), *w.FD(1)
			w.Set(0, &out)
			w.Set(1, &in)
		}),
	}
}
