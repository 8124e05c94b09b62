package vfs_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/vfs/vfstest"
	"pgregory.net/rapid"
)

// TestHostAndMemAgree does the same random operations on both trees.
func TestHostAndMemAgree(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the tree in memory does what Linux does")
	}
	rapid.Check(t, func(r *rapid.T) {
		var shells []*vfstest.Shell
		for _, fs := range []vfs.FS{newHost(t), vfs.NewMem(vfs.MemOptions{})} {
			sh, err := vfstest.NewShell(fs)
			if err != nil {
				t.Fatal(err)
			}
			defer sh.Close()
			shells = append(shells, sh)
		}
		var done []string
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			line := drawOp(r)
			done = append(done, line)
			host, mem := shells[0].Do(line), shells[1].Do(line)
			if host != mem {
				r.Fatalf("after\n%s\nhost %q, mem %q", strings.Join(done, "\n"), host, mem)
			}
		}
	})
}

func drawOp(r *rapid.T) string {
	part := rapid.SampledFrom([]string{"a", "b", "c", "d", "a", "b", ".", "..", ""})
	path := rapid.Custom(func(r *rapid.T) string {
		p := strings.Join(rapid.SliceOfN(part, 1, 3).Draw(r, "parts"), "/")
		if p == "" || p[0] == '/' {
			p = "a" + p
		}
		return rapid.SampledFrom([]string{"", "", "", "s:"}).Draw(r, "from") + p
	})
	p := func() string { return path.Draw(r, "path") }
	flags := strings.Join(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"r", "w", "c", "x", "t", "d", "f"}), rapid.ID).Draw(r, "flags"), "")
	n := func() int { return rapid.IntRange(0, 9).Draw(r, "n") }
	h := rapid.SampledFrom([]string{"h1", "h2"}).Draw(r, "handle")
	return rapid.SampledFrom([]func() string{
		func() string { return "mkdir " + p() },
		func() string { return "mkdir " + p() },
		func() string { return "rmdir " + p() },
		func() string { return "unlink " + p() },
		func() string { return "rename " + p() + " " + p() },
		func() string { return "link " + p() + " " + p() },
		func() string { return "symlink " + strings.TrimPrefix(p(), "s:") + " " + p() },
		func() string { return "readlink " + p() },
		func() string { return "stat " + p() },
		func() string { return "lstat " + p() },
		func() string { return "ls " + p() },
		func() string { return "cat " + p() },
		func() string { return fmt.Sprint("put ", p(), " ", strings.Repeat("x", n()+1)) },
		func() string { return "try " + "r" + flags + " " + p() },
		func() string { return "sub s " + p() },
		func() string { return "open " + h + " rw" + flags + " " + p() },
		func() string { return fmt.Sprint("read ", h, " ", n(), " ", n()) },
		func() string { return fmt.Sprint("write ", h, " ", n(), " ", n(), "text") },
		func() string { return fmt.Sprint("append ", h, " tail", n()) },
		func() string { return fmt.Sprint("size ", h, " ", n()) },
		func() string { return fmt.Sprint("allocate ", h, " ", n(), " ", n()) },
		func() string { return "fstat " + h },
	}).Draw(r, "op")()
}
