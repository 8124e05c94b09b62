package scan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/clonecloud/clonecloud/internal/scan/hostdir"
	"github.com/clonecloud/clonecloud/internal/tree"
)

func watching(t testing.TB, dir string) *Tree {
	t.Helper()
	x := openTree(t, dir, Options{Watch: true})
	pin(t, x)
	if x.watcher == nil {
		t.Skip("the system does not watch here")
	}
	return x
}

func sameAsFresh(t testing.TB, x *Tree) {
	t.Helper()
	want := describe(t, pin(t, openTree(t, x.name, Options{})))
	if d := cmp.Diff(want, describe(t, pin(t, x))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestSpecialFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, "socket")}))
	mkdir(t, dir, "sub")
	want := map[string]uint8{"pipe": hostdir.TypeUnknown, "socket": hostdir.TypeSocket}
	if unix.Mknod(filepath.Join(dir, "sub", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil {
		want["sub/null"] = hostdir.TypeChar
	}
	v := pin(t, openTree(t, dir, Options{}))
	for path, typ := range want {
		if e := lookup(t, v, path); e.Kind != tree.KindOther || e.Type != typ || e.Ino == 0 {
			t.Errorf("%s: got %+v, want type %d", path, e, typ)
		}
		if _, err := v.Content(t.Context(), lookup(t, v, path).Ino); err == nil {
			t.Errorf("%s has contents", path)
		}
	}
	if got := v.Skipped(); len(got) != len(want) || got[0] != "pipe" {
		t.Errorf("Skipped() = %q", got)
	}
	describe(t, v)
}

func TestSkippedIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxSkipped + 7 {
		must(t, unix.Mkfifo(filepath.Join(dir, fmt.Sprint(i)), 0o600))
	}
	got := pin(t, openTree(t, dir, Options{})).Skipped()
	if len(got) != maxSkipped+1 || got[maxSkipped] != "and 7 more" {
		t.Errorf("%d items, the last is %q", len(got), got[len(got)-1])
	}
}

// TestPipeInPlaceOfFile: opening one would wait for a writer.
func TestPipeInPlaceOfFile(t *testing.T) {
	dir := t.TempDir()
	write(t, "x", dir, "file")
	v := pin(t, openTree(t, dir, Options{}))
	ino := lookup(t, v, "file").Ino
	must(t, os.Remove(filepath.Join(dir, "file")))
	must(t, unix.Mkfifo(filepath.Join(dir, "file"), 0o600))
	if _, err := v.Content(t.Context(), ino); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

func TestSparseFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 3<<40)
	must(t, errors.Join(err, f.Truncate(5<<40), f.Close()))
	x := settled(openTree(t, dir, Options{}))
	v := pin(t, x)
	e := lookup(t, v, "sparse")
	if e.Flags&tree.Apart != 0 {
		t.Fatal("left alone, although it has little data")
	}
	chunks, err := v.Content(t.Context(), e.Ino)
	must(t, err)
	if len(chunks) > 4 || !chunks[0].Hole() || !chunks[len(chunks)-1].Hole() {
		t.Errorf("got %v", chunks)
	}
	describe(t, pin(t, x))
}

func TestTooManyChunks(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	must(t, err)
	// Nothing is written; the file system is asked what has data, and has more extents than are looked at.
	for i := range maxExtents + 10 {
		if _, err = f.WriteAt([]byte("x"), int64(i)<<30); err != nil {
			break
		}
	}
	must(t, f.Close())
	if err != nil {
		t.Skip("no room for a file with many extents:", err)
	}
	v := pin(t, openTree(t, dir, Options{}))
	e := lookup(t, v, "large")
	if e.Flags&tree.Apart == 0 {
		t.Errorf("got %+v, want it left alone", e)
	}
	if _, err := v.Content(t.Context(), e.Ino); !errors.Is(err, tree.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if s := v.Skipped(); !slices.Equal(s, []string{"large"}) {
		t.Errorf("Skipped() = %q", s)
	}
}

func TestDeepDirectories(t *testing.T) {
	dir := t.TempDir()
	at, err := os.OpenRoot(dir)
	must(t, err)
	for range maxDepth + 20 {
		must(t, at.Mkdir("d", 0o755))
		next, err := at.OpenRoot("d")
		must(t, errors.Join(err, at.Close()))
		at = next
	}
	must(t, at.Close())
	v := pin(t, openTree(t, dir, Options{}))
	if e := lookup(t, v, strings.Repeat("d/", maxDepth-1)+"d"); e.Flags&tree.Apart == 0 {
		t.Errorf("got %+v, want it left alone", e)
	}
	if _, dirs, _ := v.Stats(); dirs != maxDepth+1 {
		t.Errorf("%d directories", dirs)
	}
	if e := lookup(t, v, strings.Repeat("d/", maxDepth-2)+"d"); e.Flags&tree.Apart != 0 {
		t.Errorf("got %+v, want it looked into", e)
	}
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tmp", "twice", "a/inner"} {
		mkdir(t, dir, name)
	}
	write(t, "x", dir, "a/inner/file")
	write(t, "x", dir, "place")
	x := watching(t, dir)
	underneath := lookup(t, pin(t, x), "tmp").Ino
	mount := func(source, target, kind string, flags uintptr) {
		t.Helper()
		target = filepath.Join(dir, target)
		if err := unix.Mount(source, target, kind, flags, ""); err != nil {
			t.Skip("no leave to mount:", err)
		}
		t.Cleanup(func() { must(t, unix.Unmount(target, 0)) })
	}
	mount("none", "tmp", "tmpfs", 0)
	write(t, "not here", dir, "tmp", "other")
	mount(filepath.Join(dir, "a"), "twice", "", unix.MS_BIND)
	mount(filepath.Join(dir, "tmp", "other"), "place", "", unix.MS_BIND)
	v := pin(t, x)
	for _, path := range []string{"tmp", "twice"} {
		e := lookup(t, v, path)
		if e.Kind != tree.KindDir || e.Flags&tree.Apart == 0 {
			t.Errorf("%s: got %+v, want a directory that is left alone", path, e)
		}
		if list, _ := v.Entries(path); len(list) > 0 {
			t.Errorf("%s: got %+v", path, list)
		}
	}
	if e := lookup(t, v, "tmp"); e.Ino != underneath {
		t.Errorf("a mounted directory has number %d, want that of the one below, %d", e.Ino, underneath)
	}
	if e := lookup(t, v, "place"); e.Kind != tree.KindFile || e.Flags&tree.Apart == 0 {
		t.Errorf("a mounted file: got %+v", e)
	}
	if e := lookup(t, v, "a/inner/file"); e.Flags&tree.Apart != 0 {
		t.Errorf("the first place: got %+v", e)
	}
	if got, want := v.Skipped(), []string{"place", "tmp", "twice"}; !slices.Equal(got, want) {
		t.Errorf("Skipped() = %q, want %q", got, want)
	}
	seen := map[uint64]string{}
	for path, e := range describe(t, v) {
		if other, ok := seen[e.Ino]; ok {
			t.Errorf("%q and %q have one number", path, other)
		}
		seen[e.Ino] = path
	}
	sameAsFresh(t, x)
}

func TestWatchOverflow(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "busy")
	mkdir(t, dir, "quiet")
	write(t, "", dir, "busy", "a")
	write(t, "", dir, "busy", "b")
	x := watching(t, dir)
	most, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var n int
	_, err = fmt.Sscan(string(most), &n)
	must(t, err)
	if n > 100_000 {
		t.Skip("the queue is long:", n)
	}
	for i := range n + 10 {
		must(t, os.Chmod(filepath.Join(dir, "busy", []string{"a", "b"}[i%2]), 0o600))
	}
	write(t, "lost event", dir, "quiet", "file")
	lookup(t, pin(t, x), "quiet/file")
	sameAsFresh(t, x)
}

// full is a queue to which no directory can be added.
type full struct{ queue }

func (full) Add(*hostdir.Dir) (int, error) { return 0, unix.ENOSPC }

// TestWatchRefused: without more watches, everything is looked at.
func TestWatchRefused(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "a")
	x := watching(t, dir)
	x.watcher.w = full{x.watcher.w}
	mkdir(t, dir, "b")
	x.stale = true
	pin(t, x)
	if x.watcher != nil || !x.unwatched {
		t.Fatal("still watching")
	}
	write(t, "x", dir, "b", "file")
	sameAsFresh(t, x)
}

// TestMappedWrite: the system gives no event for it, so whoever knows of it says so.
func TestMappedWrite(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "sub")
	write(t, "before", dir, "sub", "file")
	must(t, os.Chtimes(filepath.Join(dir, "sub", "file"), time.Unix(1, 0), time.Unix(1, 0))) // so that a write shows
	x := watching(t, dir)
	old := lookup(t, pin(t, x), "sub/file")
	f, err := os.OpenFile(filepath.Join(dir, "sub", "file"), os.O_RDWR, 0)
	must(t, err)
	m, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	copy(m, "after!")
	must(t, errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m), f.Close()))
	x.Touched("sub/file", "", "nowhere/at/all", "sub")
	v := pin(t, x)
	if b, err := contents(t, v, "sub/file"); err != nil || string(b) != "after!" {
		t.Errorf("got %q, %v", b, err)
	}
	if now := lookup(t, v, "sub/file"); now.Mtime == old.Mtime && now.Ctime == old.Ctime {
		t.Error("the image is the one before")
	}
}

func TestMovedDirectoryIsStillWatched(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "a", "inner", "most")
	x := watching(t, dir)
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	pin(t, x)
	write(t, "x", dir, "b", "inner", "most", "file")
	lookup(t, pin(t, x), "b/inner/most/file")
	must(t, os.Rename(filepath.Join(dir, "b", "inner"), filepath.Join(dir, "inner")))
	pin(t, x)
	write(t, "y", dir, "inner", "most", "file")
	if b, err := contents(t, pin(t, x), "inner/most/file"); err != nil || string(b) != "y" {
		t.Errorf("got %q, %v", b, err)
	}
	sameAsFresh(t, x)
}

// TestUnreadable looks as a user who may not see everything.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs the superuser, to stop being one")
	}
	dir := t.TempDir()
	// Both are this test's own.
	must(t, errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)))
	mkdir(t, dir, "closed")
	write(t, "x", dir, "closed", "file")
	mkdir(t, dir, "listed")
	write(t, "x", dir, "listed", "file")
	must(t, os.Symlink("x", filepath.Join(dir, "listed", "link")))
	must(t, os.Chmod(filepath.Join(dir, "closed"), 0))
	must(t, os.Chmod(filepath.Join(dir, "listed"), 0o744))
	must(t, errors.Join(syscall.Setegid(65534), syscall.Seteuid(65534))) // of all threads
	defer func() { must(t, errors.Join(syscall.Seteuid(0), syscall.Setegid(0))) }()
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the folder for temporary files is closed to others:", err)
	}
	x := openTree(t, dir, Options{Watch: true})
	for range 2 {
		v := pin(t, x)
		if e := lookup(t, v, "closed"); e.Kind != tree.KindDir || e.Flags&(tree.Readable|tree.Apart) != 0 {
			t.Errorf("closed: got %+v", e)
		}
		if list, ok := v.Entries("closed"); !ok || len(list) > 0 {
			t.Errorf("closed: got %+v", list)
		}
		if e := lookup(t, v, "listed"); e.Flags != tree.Readable {
			t.Errorf("listed: got %+v", e)
		}
		if e := lookup(t, v, "listed/file"); e.Kind != tree.KindFile || e.Flags&tree.Apart == 0 {
			t.Errorf("listed/file: got %+v", e)
		}
		if e := lookup(t, v, "listed/link"); e.Kind != tree.KindOther {
			t.Errorf("listed/link: got %+v", e)
		}
	}
}
