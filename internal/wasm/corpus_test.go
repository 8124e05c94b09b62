package wasm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wasm/validate"
)

// corpus is the folder of the wazero module, whose test data holds the specification's tests.
func corpus(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the wazero module is not in the module cache: %v", err)
	}
	return dir
}

// eachModule calls f with every .wasm file of the corpus.
func eachModule(t testing.TB, f func(path string, bin []byte)) {
	t.Helper()
	err := filepath.WalkDir(corpus(t), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".wasm") {
			return err
		}
		bin, err := os.ReadFile(path)
		if err == nil {
			f(path, bin)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sameModule compares modules that may stand at different offsets.
func sameModule(t testing.TB, path string, got, want *wasm.Module) {
	t.Helper()
	if len(got.Funcs) != len(want.Funcs) {
		t.Fatalf("%s: got %d functions, want %d", path, len(got.Funcs), len(want.Funcs))
	}
	for i := range got.Funcs {
		got.Funcs[i].Body.Offset = want.Funcs[i].Body.Offset
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: decoded again it differs:\n%s", path, cmp.Diff(want, got))
	}
}

func TestCorpusRoundTrip(t *testing.T) {
	var files, refused, identical, instrs, shortened int
	eachModule(t, func(path string, bin []byte) {
		files++
		m, err := wasm.Decode(bin)
		if err == nil {
			err = m.CheckBodies()
		}
		if err != nil {
			if f := (*wasm.FormatError)(nil); !errors.As(err, &f) || f.Section == "" || f.Reason == "" || f.Offset > len(bin) {
				t.Errorf("%s: unclear error %#v", path, err)
			}
			refused++
			return
		}
		enc := m.Encode()
		if bytes.Equal(enc, bin) {
			identical++
		}
		again, err := wasm.Decode(enc)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		sameModule(t, path, again, m)
		if !bytes.Equal(again.Encode(), enc) {
			t.Errorf("%s: encoding differs the second time", path)
		}
		for i := range m.Funcs {
			n, s := reencodeBody(t, path, m.Funcs[i].Body.Code)
			instrs += n
			shortened += s
		}
		names, err := m.Names()
		if err != nil {
			return // malformed names are no fault of the module
		}
		again.SetNames(names)
		if got, err := again.Names(); err != nil || !reflect.DeepEqual(got, names) {
			t.Errorf("%s: names differ: %v\n%s", path, err, cmp.Diff(names, got))
		}
	})
	t.Logf("%d files, %d refused, %d encoded to the same bytes; %d instructions, %d encoded shorter",
		files, refused, identical, instrs, shortened)
	if files < 7900 || files-refused < 6550 || identical < 6450 || instrs < 350_000 {
		t.Error("fewer than there should be")
	}
}

// reencodeBody reads instructions and appends them again. It returns how many there are and how many got shorter.
func reencodeBody(t *testing.T, path string, code wasm.Expr) (n, shorter int) {
	t.Helper()
	var in, in2 wasm.Instr
	var buf []byte
	for r := wasm.NewReader(code); r.Next(&in); n++ {
		buf = wasm.AppendInstr(buf[:0], &in)
		if bytes.Equal(buf, code[in.Pos:in.End]) {
			continue
		}
		shorter++
		if len(buf) >= in.End-in.Pos {
			t.Fatalf("%s: %s: got % x, want % x", path, in.Op, buf, code[in.Pos:in.End])
		}
		if r2 := wasm.NewReader(buf); !r2.Next(&in2) || in2.End != len(buf) || !bytes.Equal(wasm.AppendInstr(nil, &in2), buf) {
			t.Fatalf("%s: %s: % x does not read back", path, in.Op, buf)
		}
	}
	return n, shorter
}

// laterValid lists the modules that a suite calls malformed or invalid but that this package accepts, since the
// suite is older than what allows them.
var laterValid = map[string]string{
	"v1/binary.32.wasm":            "more than one table: well-formed, then invalid as its table is unknown",
	"v1/imports.47.wasm":           "more than one table",
	"v1/imports.48.wasm":           "more than one table",
	"v1/imports.49.wasm":           "more than one table",
	"v1/func.20.wasm":              "more than one result",
	"v1/func.21.wasm":              "more than one result",
	"v1/type.3.wasm":               "more than one result",
	"v1/type.4.wasm":               "more than one result",
	"v1/unreached-invalid.87.wasm": "an unreachable br_table whose labels differ in type",
	"v2/data.9.wasm":               "a constant expression that reads a global of the module",
	"v2/data.10.wasm":              "a constant expression that reads a global of the module",
	"v2/elem.10.wasm":              "a constant expression that reads a global of the module",
	"v2/elem.11.wasm":              "a constant expression that reads a global of the module",
	"v2/global.18.wasm":            "a constant expression that reads a global of the module",
	"v2/global.19.wasm":            "a constant expression that reads a global of the module",
}

// TestCorpusSpec holds the verdicts of the specification's own tests against ours.
func TestCorpusSpec(t *testing.T) {
	type key struct{ suite, kind string }
	type count struct{ right, later int }
	counts := map[key]*count{}
	err := filepath.WalkDir(filepath.Join(corpus(t), "internal", "integration_test", "spectest"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var script struct {
			Commands []struct {
				Type, Filename, Text string
				Line                 int
				ModuleType           string `json:"module_type"`
			}
		}
		if err := json.Unmarshal(data, &script); err != nil {
			return err
		}
		suite := filepath.Base(filepath.Dir(filepath.Dir(path)))
		for _, c := range script.Commands {
			if c.Filename == "" || c.ModuleType == "text" {
				continue
			}
			bin, err := os.ReadFile(filepath.Join(filepath.Dir(path), c.Filename))
			if err != nil {
				return err
			}
			m, err := wasm.Decode(bin)
			if err == nil {
				err = m.CheckBodies()
			}
			malformed := err != nil
			if !malformed {
				err = validate.Module(m)
			}
			k, want := key{suite, "valid"}, err == nil
			switch c.Type {
			case "assert_malformed":
				k.kind, want = "malformed", malformed
			case "assert_invalid":
				k.kind, want = "invalid", err != nil
			}
			if counts[k] == nil {
				counts[k] = &count{}
			}
			if want {
				counts[k].right++
			} else if file := suite + "/" + c.Filename; laterValid[file] != "" {
				counts[k].later++
			} else {
				t.Errorf("%s of line %d is %s (%s), got %v", file, c.Line, k.kind, c.Text, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	total, later := map[string]int{}, 0
	for k, c := range counts {
		t.Logf("%-26s %-10s %4d as the suite says, %d valid by now", k.suite, k.kind, c.right, c.later)
		total[k.kind] += c.right
		later += c.later
	}
	if total["valid"] < 2850 || total["invalid"] < 3570 || total["malformed"] < 1380 || later != len(laterValid) || len(counts) < 17 {
		t.Errorf("fewer verdicts than there should be: %v, %d valid by now", total, later)
	}
}
