package local_test

import (
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// TestAcross: a rename or link to another System ends like one to another mount of the same.
func TestAcross(t *testing.T) {
	mem := func() vfs.FS { return vfs.NewMem(vfs.MemOptions{}) }
	for _, readOnly := range []bool{false, true} {
		both := newSystem(t, local.Config{Mounts: []local.Mount{{FS: mem(), Guest: "/a", ReadOnly: readOnly}, {FS: mem(), Guest: "/b"}}})
		one := newSystem(t, local.Config{Mounts: []local.Mount{{FS: mem(), Guest: "/a", ReadOnly: readOnly}}})
		mine, other := both.Root(0), both.Root(1)
		_, errno := do(t, both, wasi.Request{Op: wasi.OpOpen, Handle: other, Path: "f", Flags: wasi.FlagCreate, Rights: wasi.RightWrite})
		want(t, "make a file", errno, vfs.Success)
		for _, op := range []wasi.Op{wasi.OpRename, wasi.OpLink} {
			for _, c := range []struct{ from, to uint64 }{{mine, other}, {other, mine}} {
				req := wasi.Request{Op: op, Handle: c.from, Path: "f", Handle2: c.to, Path2: "g"}
				_, is := do(t, both, req)
				if got := vfs.ErrnoOf(one.Across(&req)); got != is {
					t.Errorf("%v, read-only %t, from %d to %d: got %v, want %v", op, readOnly, c.from, c.to, got, is)
				}
			}
		}
	}
}

// TestTake: numbers that were given elsewhere to files that have come and gone are not given again.
func TestTake(t *testing.T) {
	s := newSystem(t, local.Config{Mounts: []local.Mount{{FS: vfs.NewMem(vfs.MemOptions{}), Guest: "/"}}})
	_, last, _ := s.Numbers(0, -1)
	s.Take(0, []local.Number{{Ino: 1000, Virtual: last + 1}, {Ino: 1001}}, last+3)
	resp, errno := do(t, s, wasi.Request{Op: wasi.OpOpen, Handle: root, Path: "f", Flags: wasi.FlagCreate, Rights: wasi.RightWrite})
	want(t, "make a file", errno, vfs.Success)
	if got := resp.Stat.Ino; got != last+4 {
		t.Errorf("number %d follows %d", got, last+3)
	}
}
