package main

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// TestAssemble makes ratios: each side is held against the native program with its input, round by round.
func TestAssemble(t *testing.T) {
	p := programs.Portable{Name: "p", Lang: programs.C}
	sides := []side{
		{who: who{gcc, plain}},
		{who: who{clang, plain}},
		{who: who{engines.Compiler, cloned}},
		{who: who{gcc, plain}, small: true},
		{who: who{engines.Interpreter, plain}, small: true},
	}
	f := assemble(&p, sides, [][]float64{{1, 2, 4}, {2, 2, 2}, {3, 6, 12}, {0.5, 0.25, 1}, {50, 25, 50}})
	want := map[who][]float64{
		{clang, plain}:               {2, 1, 0.5},
		{engines.Compiler, cloned}:   {3, 3, 3},
		{engines.Interpreter, plain}: {100, 100, 50},
	}
	if diff := cmp.Diff(want, f.over, cmp.AllowUnexported(who{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]float64{1, 2, 4}, f.base); diff != "" {
		t.Error(diff)
	}
	row := f.row(f.base, []who{{clang, plain}, {engines.Wasmtime, plain}, {engines.Compiler, cloned}})
	if diff := cmp.Diff([]any{"p", "C", 2000.0, 1.0, "", 3.0}, row[:6]); diff != "" {
		t.Error(diff)
	}
	// clang's ratios: the 90th percentile is 1.8, the 10th 0.6.
	if got := row[6].(float64); !near(got, 3) {
		t.Errorf("spread: got %v, want 3", got)
	}
}

func measured(name string, lang programs.Language, simd bool, over map[who][]float64) figures {
	return figures{prog: programs.Portable{Name: name, Lang: lang, SIMD: simd}, over: over}
}

func some() []figures {
	wasmtime, compiler := who{engines.Wasmtime, cloned}, who{engines.Compiler, cloned}
	return []figures{
		measured("a", programs.C, false, map[who][]float64{wasmtime: {1, 1, 1}, compiler: {2, 2, 2}}),
		measured("b", programs.C, true, map[who][]float64{wasmtime: {1.44, 1.44, 9}, compiler: {1.2, 1.2, 7.5}}),
		measured("c", programs.Go, false, map[who][]float64{wasmtime: {4, 4, 4}, compiler: {4, 4, 4}}),
		measured("d", programs.Rust, false, map[who][]float64{compiler: {8}}),
	}
}

func TestMeans(t *testing.T) {
	all, wasmtime := some(), who{engines.Wasmtime, cloned}
	for name, want := range map[string]float64{"C without vectors": 1, "C with vectors": 1.44, "C": 1.2, "Go": 4, "all": math.Cbrt(5.76)} {
		for _, g := range groups {
			if got := g.mean(all, wasmtime); g.name == name && !near(got, want) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		}
	}
	tab := means(all, []string{engines.Wasmtime, engines.Compiler}, nil)
	if got := len(tab.Rows); got != len(groups) {
		t.Errorf("%d rows of %d groups", got, len(groups))
	}
	if row := tab.Rows[3]; row["programs"] != "Rust" || row[wasmtime.String()] != "" || row["count"] != 1 {
		t.Errorf("Rust, which wasmtime did not run: %v", row)
	}
}

func TestTargets(t *testing.T) {
	tab := targets(some())
	type row struct {
		engine string
		found  float64
		held   bool
	}
	var got []row
	for _, r := range tab.Rows {
		got = append(got, row{r["engine"].(string), math.Round(1e6*r["found"].(float64)) / 1e6, r["held"].(bool)})
	}
	want := []row{{engines.Wasmtime, 1.2, true}, {engines.Compiler, math.Round(1e6*math.Sqrt(2.4)) / 1e6, false}, {engines.Wasmtime, 1.2, false}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Error(diff)
	}
	if len(tab.Notes) != 1 || !strings.Contains(tab.Notes[0], "b 1.20 (1.20 to 1.20)") || strings.Contains(tab.Notes[0], "c 1.00") {
		t.Errorf("notes: %q", tab.Notes)
	}
	if rows := targets(nil).Rows; len(rows) != 0 {
		t.Errorf("of nothing: %v", rows)
	}
}

// TestAlternate runs sides in turn, and refuses one that says something else.
func TestAlternate(t *testing.T) {
	var order []string
	say := func(name, what string) side {
		return side{who: who{name, plain}, run: func(context.Context) (float64, []byte, error) {
			order = append(order, name)
			return float64(len(order)), []byte(what), nil
		}}
	}
	times, err := alternate(t.Context(), true, 2, []side{say("a", "x"), say("b", "x")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "baabba"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
	if diff := cmp.Diff([][]float64{{3, 6}, {4, 5}}, times); diff != "" {
		t.Error(diff)
	}
	if _, err := alternate(t.Context(), false, 1, []side{say("a", "x"), say("b", "y")}); err == nil {
		t.Error("another output passed")
	}
	small := say("b", "y")
	small.small = true
	if _, err := alternate(t.Context(), false, 1, []side{say("a", "x"), small}); err != nil {
		t.Errorf("outputs of other inputs were compared: %v", err)
	}
	broken := side{run: func(context.Context) (float64, []byte, error) { return 0, nil, context.Canceled }}
	if _, err := alternate(t.Context(), false, 1, []side{broken}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestComputed(t *testing.T) {
	for words, want := range map[string]time.Duration{"123\n": 123, "begin\n4000000\n": 4 * time.Millisecond, "": 0, "begin\n": 0, "-5": 0, "0": 0, "1e9": 0} {
		got, err := computed(words)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %v, %v", words, got, err)
		}
	}
}

func TestShare(t *testing.T) {
	const rollup = "00400000-7fff00000000 ---p 00000000 00:00 0    [rollup]\nRss:                1432 kB\nPss:                 512 kB\nPss_Dirty:            88 kB\n"
	if got, err := parseShare(rollup); err != nil || got != 512*1024 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "Rss: 1 kB\n", "Pss: x kB\n", "Pss: 1 MB\n", "Pss: -1 kB\n"} {
		if got, err := parseShare(bad); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}

// TestSharesSince counts only processes that are there before and after.
func TestSharesSince(t *testing.T) {
	before, after := shares{"1": 100, "2": 50, "gone": 1000}, shares{"1": 130, "2": 45, "new": 1000}
	if got := after.since(before); got != 25 {
		t.Errorf("got %v, want 25", got)
	}
	if got := after.since(nil); got != 0 {
		t.Errorf("since nothing: got %v", got)
	}
}

// TestSettled ends with an error of what is read.
func TestSettled(t *testing.T) {
	unread := errors.New("unread")
	if _, err := settled(t.Context(), func() (shares, error) { return nil, unread }); !errors.Is(err, unread) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := settled(ctx, func() (shares, error) { return shares{}, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestFlags refuses what cannot be meant before anything is measured.
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		o    options
		part []string
	}{{options{rounds: 1}, []string{"nonesuch"}}, {options{}, nil}, {options{rounds: 1, chart: "x"}, []string{"calls"}}} {
		if err := run(&c.o, c.part, false); err == nil {
			t.Errorf("%+v %q passed", c.o, c.part)
		}
	}
}

func TestEach(t *testing.T) {
	got := each([]string{"a", "b"})
	want := []who{{"a", plain}, {"a", cloned}, {"a", canonical}, {"b", plain}, {"b", cloned}, {"b", canonical}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(who{})); diff != "" {
		t.Error(diff)
	}
	if s := (who{"a", canonical}).String(); s != "a, clone, NaN" {
		t.Errorf("got %q", s)
	}
	var b measure.Bound
	if worst, missed := rivals(nil, cloned); worst != b || missed != nil {
		t.Errorf("got %v, %v", worst, missed)
	}
}
