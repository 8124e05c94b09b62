package analysis

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func sample() *module {
	var m module
	write := m.imp(wasi, "fd_write", nil, nil)
	sensor := m.imp("phone", "sen\x1b[31msor", nil, nil)
	work := m.fn("work", nil, nil, heavy())
	m.fn("say", nil, nil, calls(write))
	m.fn("feel", nil, nil, calls(sensor))
	m.fn("feel more", nil, nil, calls(sensor))
	m.fn("refer", types(externr), nil)
	m.export("_start", wasm.ExternFunc, m.fn("main", nil, nil, loop(calls(work), calls(write))))
	return &m
}

func text(t *testing.T, r *Report, opt TextOptions) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteText(t *testing.T) {
	r := sample().analyze(t, Options{})
	want := `functions   6, and 2 imported
may move    3
candidates  2

Stay on the device:
       2  it reaches phone.sen?[31msor: the application that embeds the program has not declared it (feel)
       1  its signature has references, which mean nothing on another machine (refer)

Candidates:
   index  loops    weight  with all  name, and what it may reach
       7      1        43      7.7k  main  -> fd_write
       2      2       743       743  work
`
	if d := cmp.Diff(want, text(t, r, TextOptions{})); d != "" {
		t.Errorf("text (-want +got):\n%s", d)
	}
	got := text(t, r, TextOptions{Top: 1, Functions: true})
	for _, part := range []string{"          1 more\n", "       3      0         2        22  say  -> fd_write\n", "feel  [it reaches phone"} {
		if !strings.Contains(got, part) {
			t.Errorf("text lacks %q:\n%s", part, got)
		}
	}
	m := sample()
	m.Memories = []wasm.Limits{{Min: 1, Max: 1, HasMax: true, Shared: true}}
	got = text(t, m.analyze(t, Options{}), TextOptions{})
	want = "functions   6, and 2 imported\nmay move    0\ncandidates  0\n\nThe module stays on the device: its memory is shared between threads.\n"
	if got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestSummary(t *testing.T) {
	r := sample().analyze(t, Options{})
	got, err := json.MarshalIndent(r.Summary(false), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "functions": 6,
 "imported": 2,
 "may": 3,
 "why_not": [
  {
   "reason": "it reaches phone.sen\u001b[31msor: the application that embeds the program has not declared it",
   "count": 2,
   "example": "feel"
  },
  {
   "reason": "its signature has references, which mean nothing on another machine",
   "count": 1,
   "example": "refer"
  }
 ],
 "candidates": [
  {
   "index": 7,
   "name": "main",
   "may": true,
   "candidate": true,
   "loops": {
    "count": 1,
    "depth": 1,
    "outer": 0
   },
   "weight": 43,
   "trans_weight": 7673,
   "imports": [
    "wasi_snapshot_preview1.fd_write"
   ]
  },
  {
   "index": 2,
   "name": "work",
   "may": true,
   "candidate": true,
   "loops": {
    "count": 2,
    "depth": 2,
    "outer": 1
   },
   "weight": 743,
   "trans_weight": 743
  }
 ]
}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	if n := len(r.Summary(true).Funcs); n != 6 {
		t.Errorf("%d functions, want 6", n)
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1.0k", 9949: "9.9k", 9950: "10k", 999_499: "999k", 999_500: "1.0M", 1e15: "1.0P",
	} {
		if got := short(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}
