package rewrite_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// allOptions are the combinations of everything but the candidates.
func allOptions() (all []rewrite.Options) {
	for i := range 48 {
		all = append(all, rewrite.Options{
			Wrap: i&1 != 0, CanonicalNaN: i&2 != 0, StripDebug: i&4 != 0, Detach: i&8 != 0, Poll: rewrite.PollMode(i / 16),
		})
	}
	return all
}

// withCandidates fills in every function that may be a candidate, and the components.
func withCandidates(m *wasm.Module, opt rewrite.Options) rewrite.Options {
	k := machine{tally: &tally{excluded: map[string]int{}}}
	opt.Candidates, opt.SCC = k.choose(m), components(m)
	return opt
}

// modules are the distinct modules of the corpus.
func modules(t testing.TB) (files []string, bins [][]byte) {
	seen := map[[32]byte]bool{}
	err := filepath.WalkDir(corpus(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".wasm" {
			return err
		}
		bin, err := os.ReadFile(path)
		if sum := sha256.Sum256(bin); err == nil && !seen[sum] {
			seen[sum] = true
			files, bins = append(files, path), append(bins, bin)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bins
}

// Every valid module is valid after rewriting. Each goes through three combinations of options, all of them if
// REWRITE_ALL is set, and the module that went in is left as it was.
func TestOptions(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles thousands of modules")
	}
	options := allOptions()
	files, bins := modules(t)
	valid, stay, made := 0, 0, 0
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer r.Close(t.Context())
	for i, bin := range bins {
		if c, err := r.CompileModule(t.Context(), bin); err != nil {
			continue
		} else if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		valid++
		m, err := wasm.Decode(bin)
		if err != nil {
			t.Errorf("%s: %v", files[i], err)
			continue
		}
		before := m.Encode()
		for k, opt := range options {
			if (k+i)%16 != 0 && os.Getenv("REWRITE_ALL") == "" {
				continue
			}
			res, err := rewrite.Rewrite(m, withCandidates(m, opt))
			if e := (*rewrite.StayError)(nil); errors.As(err, &e) {
				if why := rewrite.WhyLocal(m); why != e.Reason {
					t.Errorf("%s: stays because %q, or because %q?", files[i], e.Reason, why)
				}
				stay++
				break
			}
			if err != nil {
				t.Errorf("%s: %+v: %v", files[i], opt, err)
				continue
			}
			made++
			c, err := r.CompileModule(t.Context(), res.Binary)
			if err != nil {
				t.Errorf("%s: %+v: %v", files[i], opt, err)
				continue
			}
			c.Close(t.Context())
		}
		if !bytes.Equal(m.Encode(), before) {
			t.Errorf("%s: the module changed", files[i])
		}
	}
	t.Logf("%d files, %d valid, %d stay local, %d variants compiled", len(files), valid, stay, made)
	if valid < 1500 || made < 3600 {
		t.Error("too few modules")
	}
}

// The number of processors and the order of candidates make no difference.
func TestDeterministic(t *testing.T) {
	bin := goProgram(t)
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	opt := withCandidates(m, rewrite.Options{Wrap: true, Poll: rewrite.PollOuterLoops, CanonicalNaN: true})
	var first *rewrite.Result
	for _, procs := range []int{1, 2, 5} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		res, err := rewrite.Rewrite(m, opt)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = res
		}
		if !bytes.Equal(res.Binary, first.Binary) || res.Manifest.Digest != first.Manifest.Digest {
			t.Errorf("with %d processors the result differs", procs)
		}
		opt.Candidates = slices.Clone(opt.Candidates)
		slices.Reverse(opt.Candidates)
	}
}
