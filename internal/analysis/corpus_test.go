package analysis

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

func wazeroDir(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("no source of wazero at hand: %v", err)
	}
	return dir
}

// TestCorpus analyses every module among wazero's test data: the tests of the specification and its proposals,
// and programs by several compilers.
func TestCorpus(t *testing.T) {
	var decoded, analysed, may, candidates int
	stays := map[string]int{}
	err := filepath.WalkDir(wazeroDir(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".wasm" {
			return err
		}
		bin, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m, err := wasm.Decode(bin)
		if err != nil {
			return nil
		}
		decoded++
		r, err := Analyze(m, Options{All: true})
		if err != nil {
			return nil // tests of what is malformed or invalid in code
		}
		analysed++
		if r.Stay != "" {
			stays[strings.Fields(r.Stay)[1]]++
		}
		checkReport(t, path, m, r)
		for i := range r.Funcs {
			if r.Funcs[i].May {
				may++
			}
		}
		candidates += len(r.Candidates)
		if err := r.WriteText(io.Discard, TextOptions{Functions: true}); err != nil {
			return err
		}
		if _, err := Analyze(m, Options{Alone: true}); err != nil {
			t.Errorf("%s: again: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d modules decoded, %d analysed; %d functions may move, %d candidates; stay: %v", decoded, analysed, may, candidates, stays)
	if decoded < 5000 || analysed < decoded*9/10 || may < 10_000 {
		t.Error("too few")
	}
}

// checkReport checks what must hold of every report.
func checkReport(t *testing.T, path string, m *wasm.Module, r *Report) {
	t.Helper()
	if len(r.Funcs) != m.NumFuncs() {
		t.Errorf("%s: %d functions, want %d", path, len(r.Funcs), m.NumFuncs())
	}
	for i := range r.Funcs {
		f := &r.Funcs[i]
		if f.May == (f.Why != "") || f.Candidate && !f.May || f.Imported && f.May || r.Stay != "" && f.May {
			t.Errorf("%s: function %d: may move %v, why %q, candidate %v", path, i, f.May, f.Why, f.Candidate)
		}
		for _, c := range f.Calls {
			g := &r.Funcs[c]
			for im := range g.Imports.All() {
				if !f.Imports.Has(im) {
					t.Errorf("%s: function %d calls %d, which reaches import %d, and does not reach it", path, i, c, im)
				}
			}
			if f.May && !g.May && !g.Imported && strings.Contains(g.Why, "reaches") {
				t.Errorf("%s: function %d may move and calls %d, which may not: %s", path, i, c, g.Why)
			}
		}
	}
}
