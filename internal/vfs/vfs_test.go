package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/vfs/vfstest"
)

func newHost(t *testing.T) vfs.FS {
	h, err := vfs.OpenHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func TestMem(t *testing.T) {
	vfstest.Run(t, func(*testing.T) vfs.FS { return vfs.NewMem(vfs.MemOptions{}) })
}

func TestHost(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the suite expects what POSIX systems give")
	}
	vfstest.Run(t, newHost)
}

func TestErrnoOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want vfs.Errno
	}{
		{nil, vfs.Success},
		{vfs.ELOOP, vfs.ELOOP},
		{&fs.PathError{Err: vfs.EXDEV}, vfs.EXDEV},
		{fs.ErrNotExist, vfs.ENOENT},
		{os.ErrDeadlineExceeded, vfs.EAGAIN},
		{errors.ErrUnsupported, vfs.ENOTSUP},
		{errors.New("other"), vfs.EIO},
	} {
		if got := vfs.ErrnoOf(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
