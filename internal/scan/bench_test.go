package scan

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// makeTree makes files of a few bytes, dirs directories of files each.
func makeTree(t testing.TB, top string, dirs, files int) {
	t.Helper()
	for d := range dirs {
		name := filepath.Join(top, fmt.Sprintf("group-%02d", d/40), fmt.Sprintf("dir-%04d", d))
		if err := os.MkdirAll(name, 0o777); err != nil {
			t.Fatal(err)
		}
		for f := range files {
			if err := os.WriteFile(filepath.Join(name, fmt.Sprintf("file-%04d.txt", f)), fmt.Appendf(nil, "contents of %d in %d\n", f, d), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func pin(t testing.TB, x *Tree) *Version {
	t.Helper()
	v, err := x.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func openTree(t testing.TB, dir string, o Options) *Tree {
	t.Helper()
	o.Log = t.Logf
	x, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// BenchmarkUnchanged measures how long it takes to see that 100,000 files are what another process left in the cache.
// In the same run git does as much, where there is one; "of-git" is our time as a part of its.
func BenchmarkUnchanged(b *testing.B) {
	dir, cache := b.TempDir(), filepath.Join(b.TempDir(), "cache")
	makeTree(b, dir, 1000, 100)
	git := makeRepository(b, dir)
	first := settled(openTree(b, dir, Options{Cache: cache}))
	pin(b, first)
	if err := first.Hash(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	root := pin(b, first).Root()
	if err := first.Close(); err != nil {
		b.Fatal(err)
	}
	var theirs time.Duration
	for b.Loop() {
		b.StopTimer()
		theirs += git()
		b.StartTimer()
		x, err := Open(dir, Options{Cache: cache})
		if err != nil {
			b.Fatal(err)
		}
		v, err := x.Pin(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if v.Root().Dir != root.Dir {
			b.Fatal("another root")
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	if theirs > 0 {
		b.ReportMetric(float64(theirs.Microseconds())/1000/float64(b.N), "git-ms")
		b.ReportMetric(float64(b.Elapsed())/float64(theirs), "of-git")
	}
}

// makeRepository makes a git repository of dir, and returns what measures git status on it.
func makeRepository(b *testing.B, dir string) func() time.Duration {
	if _, err := exec.LookPath("git"); err != nil {
		b.Log("no git to compare with")
		return func() time.Duration { return 0 }
	}
	repository := filepath.Join(b.TempDir(), "git") // outside, since git writes there
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "--git-dir=" + repository, "--work-tree=" + dir, "-c", "user.name=x",
			"-c", "user.email=x@example.com", "-c", "gc.auto=0"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "all")
	git("status") // refreshes its index
	return func() time.Duration {
		start := time.Now()
		git("status", "--porcelain")
		return time.Since(start)
	}
}

// BenchmarkWatched measures a Pin when nothing, or one file of 100,000, has changed since the one before.
func BenchmarkWatched(b *testing.B) {
	dir := b.TempDir()
	makeTree(b, dir, 1000, 100)
	x := openTree(b, dir, Options{Watch: true})
	pin(b, x)
	b.Run("Nothing", func(b *testing.B) {
		for b.Loop() {
			pin(b, x)
		}
	})
	b.Run("OneFile", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			if err := os.WriteFile(filepath.Join(dir, "group-03/dir-0123/file-0042.txt"), fmt.Append(nil, n), 0o666); err != nil {
				b.Fatal(err)
			}
			pin(b, x)
		}
	})
}

// BenchmarkFirst measures a Pin of 100,000 files of which nothing is known.
func BenchmarkFirst(b *testing.B) {
	dir := b.TempDir()
	makeTree(b, dir, 1000, 100)
	for b.Loop() {
		x, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		pin(b, x)
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
