package migrate_test

import (
	"syscall"
	"testing"

	"github.com/clonecloud/clonecloud/internal/rewrite"
)

// TestImageOfItsOwn: where memory cannot be shared each instance has the initial contents all the same, and once it can be
// it is.
func TestImageOfItsOwn(t *testing.T) {
	w, err := newWorkshop(t, interpreter(t), processWasm, rewrite.Options{Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 16, Max: old.Max}); err != nil {
		t.Skip(err)
	}
	a, b := w.start(w.linkage()), w.start(w.linkage())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	c, d := w.start(w.linkage()), w.start(w.linkage())
	if a.Mem.CopyOnWrite() || b.Mem.CopyOnWrite() {
		t.Error("the limit did not keep memory from being shared")
	}
	same(t, a, b)
	same(t, a, c)
	same(t, a, d)
	a.Mem.Bytes()[8192], c.Mem.Bytes()[8192] = 1, 2
	same(t, b, d)
	w.end(a, b, c, d)
}
