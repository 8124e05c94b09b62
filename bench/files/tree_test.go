package main

import (
	"bytes"
	"compress/flate"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTreeIsAsItIsSpecified(t *testing.T) {
	spec := treeSpec{files: 10_000, bytes: 1e9, seed: 1}
	sizes := spec.sizes()
	sum := 0
	for _, n := range sizes {
		sum += n
	}
	slices.Sort(sizes)
	if mid := sizes[len(sizes)/2]; sum < 950e6 || sum > 1000e6 || mid < 25e3 || mid > 35e3 {
		t.Errorf("%d bytes in all, half of the files below %d", sum, mid)
	}
	if last := sizes[len(sizes)-1]; last < 2<<20 || last > largestSize {
		t.Errorf("the largest file has %d bytes", last)
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	var trees []map[string]string
	for _, seed := range []uint64{1, 1, 2} {
		dir := t.TempDir()
		spec := treeSpec{files: 250, bytes: 2e6, seed: seed}
		n, err := spec.generate(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		tree := map[string]string{}
		names, err := listFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			tree[name] = string(b)
			total += len(b)
		}
		if len(names) != spec.files || int64(total) != n {
			t.Errorf("%d files of %d bytes, want %d of %d", len(names), total, spec.files, n)
		}
		trees = append(trees, tree)
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" {
		t.Error("the same seed gives another tree")
	}
	if cmp.Equal(trees[0], trees[2]) {
		t.Error("another seed gives the same tree")
	}
}

func TestContentsCompressToAboutHalf(t *testing.T) {
	v := newVocabulary(1)
	const kinds = 2
	all := 0.0
	for i := range kinds {
		b := v.contents(nil, i, 1<<20)
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, flate.DefaultCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		share := float64(out.Len()) / float64(len(b))
		if share < 0.35 || share > 0.6 {
			t.Errorf("file %d compresses to %.2f of its size", i, share)
		}
		all += share / kinds
	}
	if all < 0.4 || all > 0.55 {
		t.Errorf("files compress to %.2f of their size", all)
	}
}

func TestChange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("abcd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := change(name, 7); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := "abchanged in round 7cd"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
