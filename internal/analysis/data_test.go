package analysis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// reader reads a file in work and asks the application in look, which may move since the application has declared it.
func reader(t *testing.T, opt Options) (*Report, *Data) {
	t.Helper()
	var m module
	read := m.imp(wasi, "fd_read", nil, nil)
	open := m.imp(wasiUnstable, "path_open", nil, nil)
	stat := m.imp(wasi, "path_filestat_get", nil, nil)
	sensor := m.imp("phone", "sen\x1b[31msor", nil, nil)
	m.fn("work", nil, nil, heavy(), calls(read), calls(open))
	m.fn("stat", nil, nil, heavy(), calls(stat))
	m.fn("look", nil, nil, heavy(), calls(sensor))
	m.Memories = []wasm.Limits{{Min: 2, Max: 16, HasMax: true}}
	m.Data = []wasm.Data{{Mode: wasm.Passive, Init: []byte("12345")}, {Mode: wasm.Passive, Init: []byte("678")}}
	opt.Pinned = func(string, string) string { return "" }
	opt.All = true
	r := m.analyze(t, opt)
	d := r.Data(&m.Module)
	d.ModuleBytes = 1234
	return r, d
}

func TestData(t *testing.T) {
	_, got := reader(t, Options{})
	want := &Data{
		ModuleBytes: 1234,
		Memory:      &MemoryData{MinBytes: 2 << 16, MaxBytes: 16 << 16, SegmentBytes: 8},
		Kinds: []DataKind{
			{Kind: DataMemory, Always: true},
			{Kind: DataArguments, Always: true},
			{Kind: DataEnvironment, Always: true, KeepLocal: "env:NAME"},
			{Kind: DataFiles, Candidates: 1, Imports: []string{wasi + ".fd_read", wasiUnstable + ".path_open"}, KeepLocal: "dir:GUEST"},
			{Kind: DataNames, Candidates: 1, Imports: []string{wasi + ".path_filestat_get"}, KeepLocal: "dir:GUEST"},
			{Kind: DataStdin, Candidates: 1, Imports: []string{wasi + ".fd_read"}, KeepLocal: "stdin"},
			{Kind: DataHost, Candidates: 1, Imports: []string{"phone.sen\x1b[31msor"}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, k := range got.Kinds {
		if says[k.Kind] == "" {
			t.Errorf("no words for %s", k.Kind)
		}
	}
}

func TestDataText(t *testing.T) {
	_, d := reader(t, Options{})
	var b strings.Builder
	if err := d.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"        once  the module, 1.2kB",
		"   each time  the pages of its memory that it has written since the last time, with all that it has read or computed (131kB at the start, at most 1.0MB)",
		"   each time  its variables, as run --env gives them [--keep-local env:NAME]",
		"if asked for  contents of files in its directories, by 1 of the candidates: fd_read wasi_unstable.path_open [--keep-local dir:GUEST]",
		"if asked for  what functions of the embedding application return, by 1 of the candidates: phone.sen?[31msor",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("text lacks %q:\n%s", line, b.String())
		}
	}
}

// TestDataKept has no candidates, so that nothing leaves.
func TestDataKept(t *testing.T) {
	r, d := reader(t, Options{KeepLocal: []string{"work", "stat", "look"}})
	if len(r.Candidates) != 0 || len(d.Kinds) != 0 {
		t.Fatalf("candidates %v, data %v", r.Candidates, d.Kinds)
	}
	var b strings.Builder
	if err := d.WriteText(&b); err != nil || !strings.Contains(b.String(), "none  no function moves\n") {
		t.Errorf("%v: %q", err, b.String())
	}
}
