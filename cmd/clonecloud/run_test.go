package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud"
)

var rewrite = flag.Bool("rewrite", false, "write golden files from what is")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// schema lists the names that a type has in JSON, with their types, one a line.
func schema(w io.Writer, path string, t reflect.Type) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		fmt.Fprintf(w, "%s nanoseconds\n", path)
	case t.Kind() == reflect.Struct:
		for f := range fields(t) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if options == "omitempty" {
				name += "?"
			}
			schema(w, strings.TrimPrefix(path+"."+name, "."), f.Type)
		}
	case t.Kind() == reflect.Slice:
		schema(w, path+"[]", t.Elem())
	case t.Kind() == reflect.Map:
		schema(w, path+".*", t.Elem())
	default:
		fmt.Fprintf(w, "%s %v\n", path, t.Kind())
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// TestReportSchema holds the report to what docs/manual.md promises: a change of a name or type needs a new version.
func TestReportSchema(t *testing.T) {
	var b bytes.Buffer
	schema(&b, "", reflect.TypeFor[clonecloud.Report]())
	golden(t, "report.txt", b.String())
}

func TestReport(t *testing.T) {
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		path := filepath.Join(t.TempDir(), "report.json")
		got := run(t, nil, "run", "--cloud", "local", "--offload", "work", "--report", path, guest, "work", "20000")
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("got %+v", got)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		var r clonecloud.Report
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if done, back := r.Offloads(); r.Version != 1 || done != 1 || back != 0 || r.Share < 0.5 || len(r.Module) != 64 {
			t.Errorf("got %d offloads, %d fallbacks in %s", done, back, b)
		}
	})
}

// TestAnalyzeJSON holds the names in analyze's JSON.
func TestAnalyzeJSON(t *testing.T) {
	got := inProcess(t, nil, "analyze", "--json", "--all", guest)
	var v any
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	names := map[string]bool{}
	collect(names, "", v)
	var b strings.Builder
	for _, n := range slices.Sorted(func(yield func(string) bool) {
		for n := range names {
			if !yield(n) {
				return
			}
		}
	}) {
		b.WriteString(n + "\n")
	}
	golden(t, "analyze.txt", b.String())
}

func collect(names map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			collect(names, strings.TrimPrefix(path+"."+k, "."), e)
		}
	case []any:
		for _, e := range v {
			collect(names, path+"[]", e)
		}
	default:
		names[path] = true
	}
}

// TestStreams passes bytes of every value through a guest, here and by way of a clone.
func TestStreams(t *testing.T) {
	var data []byte
	for i := range 300_000 {
		data = append(data, byte(i*i>>3))
	}
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		for _, tt := range []struct {
			name string
			args []string
		}{
			{"device", []string{"run", guest, "cat"}},
			{"clone", []string{"run", "--cloud", "local", "--offload", "always", guest, "cat"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, stdin := range []io.Reader{f, bytes.NewReader(data)} { // os/exec makes a pipe of the second
					got := run(t, stdin, tt.args...)
					if got.code != 0 || got.stdout != string(data) || got.stderr != "" {
						t.Errorf("got %d bytes, want %d; exit code %d, stderr %q", len(got.stdout), len(data), got.code, got.stderr)
					}
				}
			})
		}
	})
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("inside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		if got := run(t, nil, "run", "--dir", dir+"::/here", guest, "open", "/here/f"); got.stdout != "inside\n" || got.code != 0 {
			t.Errorf("got %+v", got)
		}
		if got := run(t, nil, "run", "--dir", dir+"::/here", guest, "open", "/here/../f"); got.code != 6 {
			t.Errorf("outside of the folder: got %+v", got)
		}
	})
}

// TestDemo runs the demo on its smallest input. Its figures are for people; that the outputs are equal is for tests.
func TestDemo(t *testing.T) {
	got := onBinary(t, nil, "demo", "--size", "small")
	if got.code != 0 || !strings.Contains(got.stdout, "outputs equal           yes") {
		t.Errorf("got exit code %d, %s%s", got.code, got.stdout, got.stderr)
	}
	t.Logf("\n%s", got.stdout)
}

// TestDemoJSON holds the demo's JSON to one value, and stderr to nothing.
func TestDemoJSON(t *testing.T) {
	got := onBinary(t, nil, "demo", "--size", "small", "--json")
	var v struct {
		Version int
		Alone   int64              `json:"alone_ns"`
		Clone   int64              `json:"with_clone_ns"`
		Equal   bool               `json:"equal"`
		Report  *clonecloud.Report `json:"report"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || v.Version != demoVersion || !v.Equal || v.Alone == 0 || v.Clone == 0 || v.Report == nil {
		t.Errorf("%v: %+v", err, got)
	}
	if got.code != 0 || got.stderr != "" {
		t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"run", "--help"}, {"version"}} {
		got := inProcess(t, nil, args...)
		if got.code != 0 || got.stdout == "" || got.stderr != "" {
			t.Errorf("%q: got %+v", args, got)
		}
	}
}
