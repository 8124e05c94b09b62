package origin

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// lab is a process with one directory, whose files a and b it has open none of.
type lab struct {
	t     *testing.T
	dir   string
	local *local.System
	state *wasi.State
	files *Files
	peer  *Peer
}

func newLab(t *testing.T) *lab {
	x := &lab{t: t, dir: t.TempDir()}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(x.dir, name), []byte("this is "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host, err := vfs.OpenHost(x.dir)
	if err != nil {
		t.Fatal(err)
	}
	if x.local, err = local.New(local.Config{Mounts: []local.Mount{{FS: host, Guest: "/"}}}); err != nil {
		t.Fatal(err)
	}
	host.Close()
	x.state = x.local.NewState([]string{"main"}, nil, [32]byte{1})
	work := t.TempDir()
	x.files = New(Config{
		Mounts: []Mount{{Dir: x.dir, Guest: "/"}}, Plans: filepath.Join(work, "plans"), Spool: filepath.Join(work, "spool"), Patience: time.Minute,
	})
	x.peer = x.files.NewPeer()
	t.Cleanup(func() {
		if err := errors.Join(x.files.Close(), x.local.Close()); err != nil {
			t.Error(err)
		}
	})
	return x
}

// open opens a file as the guest does.
func (x *lab) open(name string) {
	x.t.Helper()
	req := &wasi.Request{Op: wasi.OpOpen, Handle: x.local.Root(0), Path: name, Rights: wasi.RightRead}
	var resp wasi.Response
	if err := x.local.Do(x.t.Context(), req, &resp); err != nil || resp.Errno != 0 {
		x.t.Fatalf("open %s: %v, %v", name, err, resp.Errno)
	}
	_, _ = x.state.Insert(&wasi.FD{Handle: resp.Handle, Kind: wasi.KindFile, Type: vfs.TypeRegular, Base: resp.Rights})
}

func (x *lab) depart() *Trip {
	x.t.Helper()
	trip, err := x.files.Depart(x.t.Context(), x.local, x.state, x.peer, 1<<40, 1)
	if err != nil || trip == nil {
		x.t.Fatalf("depart: %v, %v", trip, err)
	}
	x.t.Cleanup(func() { _ = trip.Close() })
	return trip
}

func (x *lab) start(trip *Trip) *replica.Mount {
	x.t.Helper()
	s, err := replica.DecodeStart(trip.Start())
	if err != nil || len(s.Mounts) != 1 {
		x.t.Fatalf("start is %+v, %v", s, err)
	}
	return &s.Mounts[0]
}

func (x *lab) ino(name string) uint64 {
	x.t.Helper()
	st, err := x.local.StatPath(0, name)
	if err != nil {
		x.t.Fatal(err)
	}
	return st.Ino
}

// TestNumbersNotSent: a clone knows the numbers of files from a Start that was sent, and from no other.
func TestNumbersNotSent(t *testing.T) {
	x := newLab(t)
	x.open("a")
	if m := x.start(x.depart()); !m.Fresh || len(m.Numbers) != 2 { // it does not go: the link has no room for it
		t.Fatalf("first start: %+v", m)
	}
	x.open("b")
	trip := x.depart()
	if m := x.start(trip); !m.Fresh || len(m.Numbers) != 3 {
		t.Errorf("after a start that was not sent: fresh %t, numbers %v", m.Fresh, m.Numbers)
	}
	trip.Started()
	if m := x.start(x.depart()); m.Fresh || len(m.Numbers) != 0 {
		t.Errorf("after one that was: fresh %t, numbers %v", m.Fresh, m.Numbers)
	}
}

// TestConfined: a clone of a function that opens nothing has no contents but those of what was open.
func TestConfined(t *testing.T) {
	x := newLab(t)
	x.open("a")
	trip := x.depart()
	trip.Confine()
	give := func(data []byte) error { return nil }
	node := x.start(trip).Root
	for _, c := range []struct {
		name string
		want replica.Want
		ok   bool
	}{
		{"open", replica.Want{Ino: x.ino("a"), Size: 10}, true},
		{"directory", replica.Want{Ino: node.Ino, ID: node.Dir}, true},
		{"contents", replica.Want{Ino: x.ino("b"), Size: 10}, false},
		{"list", replica.Want{Ino: x.ino("b"), ID: tree.IDOf(nil)}, false},
		{"chunk", replica.Want{Ino: x.ino("b"), ID: tree.IDOf([]byte("this is b")), Size: 9}, false},
	} {
		err := trip.Answer(t.Context(), c.want.AppendTo(nil), give)
		if errors.Is(err, ErrDistrust) == c.ok || c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestOtherFileSystem: a file of another file system below the directory may have the number of one that is pinned.
func TestOtherFileSystem(t *testing.T) {
	x := newLab(t)
	v := x.depart().versions[0]
	o := local.Open{Issued: wasi.FD{Kind: wasi.KindFile}, Stat: wasi.Stat{Dev: 7, Ino: x.ino("a")}}
	if got, ok := opened(v, o, 7); !ok || got.Path != "a" {
		t.Errorf("on the same: %+v, %t", got, ok)
	}
	if got, ok := opened(v, o, 8); ok {
		t.Errorf("it is taken for %q", got.Path)
	}
}

// TestJudgeNumbers: what a clone says of inode numbers is what one can have given.
func TestJudgeNumbers(t *testing.T) {
	for _, c := range []struct {
		name    string
		last    uint64
		numbers []local.Number
		ok      bool
	}{
		{"none", 20, nil, true},
		{"new", 22, []local.Number{{Ino: 5, Virtual: 21}, {Ino: 6, Virtual: 22}}, true},
		{"come_and_gone", 21, []local.Number{{Ino: 5, Virtual: 21}, {Ino: 5}}, true},
		{"gone", 20, []local.Number{{Ino: 5}}, true},
		{"far", 1 << 62, []local.Number{{Ino: 5, Virtual: 1 << 62}}, false},
		{"last_far", 25, []local.Number{{Ino: 5, Virtual: 21}}, false},
		{"beyond", 21, []local.Number{{Ino: 5, Virtual: 22}}, false},
		{"again", 21, []local.Number{{Ino: 5, Virtual: 16}}, false},
	} {
		err := judgeNumbers(&replica.BackMount{Last: c.last, Numbers: c.numbers}, 20)
		if errors.Is(err, ErrDistrust) == c.ok || c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCovers: of what a process has open, calls on files without a name are the device's.
func TestCovers(t *testing.T) {
	x := newLab(t)
	x.open("a")
	x.open("b")
	if err := os.Remove(filepath.Join(x.dir, "b")); err != nil {
		t.Skipf("what is open cannot be removed: %v", err)
	}
	trip := x.depart()
	for fd, want := range []bool{false, false, false, true, true, false} {
		h := x.state.FD(uint32(fd)).Handle
		if got := trip.Covers(h); got != want || trip.Owns(h) != want {
			t.Errorf("descriptor %d: covered %t, owned %t, want %t", fd, got, trip.Owns(h), want)
		}
	}
}
