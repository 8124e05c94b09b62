package device_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// fileLie is a lie of a clone of work that has the files.
type fileLie struct {
	lie
	readOnly bool
	limit    uint64 // origin.Config.Limit
}

// start takes the word of what the files are.
func (s *stage) start() *replica.Start {
	m := expect[*wire.Files](s)
	st, err := replica.DecodeStart(m.Data)
	if m.Kind != wire.FilesStart || err != nil || len(st.Mounts) != 1 {
		panic(fmt.Sprintf("BUG: the device says of its files %v, %v", m.Kind, err))
	}
	return st
}

// given takes the next Give message.
func (s *stage) given() []replica.Give {
	m := expect[*wire.Files](s)
	gives, err := replica.DecodeGive(m.Data)
	if m.Kind != wire.FilesGive || err != nil {
		panic(fmt.Sprintf("BUG: answer of kind %v: %v", m.Kind, err))
	}
	return gives
}

// tell sends a message about files.
func (s *stage) tell(kind wire.FilesKind, data []byte) {
	s.send(&wire.Files{Offload: s.m.Offload, Attempt: s.m.Attempt, Kind: kind, Data: data})
}

// ino is the number of a name at the top of the mount, which the device tells with its first nodes.
func inoOf(dir, name string) uint64 {
	host, err := vfs.OpenHost(dir)
	if err != nil {
		panic(err)
	}
	d, err := host.Root()
	if err != nil {
		panic(err)
	}
	defer d.Close()
	st, err := d.StatPath(name, false)
	if err != nil {
		panic(err)
	}
	return st.Ino
}

// fileLies are those about a directory that holds in, sub/deep and a link out of it.
func fileLies(dir *string) []fileLie {
	const isNew = tree.FirstNew
	lie1 := func(name, line string, script func(s *stage, st *replica.Start)) fileLie {
		return fileLie{lie: lie{name: "files_" + name, function: "work", line: line, reason: "distrust", script: func(s *stage) {
			s.ready()
			st := s.start()
			s.migrate()
			script(s, st)
		}}}
	}
	// back is a lie in what comes back, and all else of it.
	back := func(name, line string, spoil func(b *replica.BackMount, st *replica.Start) (data []tree.Object)) fileLie {
		return lie1(name, line, func(s *stage, st *replica.Start) {
			b := &replica.Back{Mounts: []replica.BackMount{{Index: st.Mounts[0].Index, Last: st.Mounts[0].Last}}}
			data := spoil(&b.Mounts[0], st)
			s.tell(wire.FilesBack, b.AppendTo(nil))
			for _, o := range data {
				s.tell(wire.FilesData, replica.AppendData(nil, o))
			}
			s.back(s.answer(1))
		})
	}
	root := func(st *replica.Start) tree.Base { return tree.Base{Ino: st.Mounts[0].Root.Ino} }
	delta := func(name, line string, change func(d *tree.Delta, root tree.Base)) fileLie {
		return back("delta_"+name, line, func(b *replica.BackMount, st *replica.Start) []tree.Object {
			d := &tree.Delta{Bases: []tree.Base{root(st)}}
			change(d, root(st))
			slices.SortFunc(d.Bases, func(a, b tree.Base) int { return int(int64(a.Ino) - int64(b.Ino)) })
			b.Delta = d.AppendTo(nil)
			return nil
		})
	}
	makes := func(name string) func(d *tree.Delta, root tree.Base) {
		return func(d *tree.Delta, root tree.Base) {
			d.Dirs = []tree.DirChange{{Ino: root.Ino, Names: []tree.NameChange{{Name: name, Ino: isNew}}}}
			d.Files = []tree.FileChange{{Ino: isNew, Kind: tree.KindFile, Written: true}}
		}
	}
	holds := func(pieces ...tree.Piece) func(d *tree.Delta, root tree.Base) {
		return func(d *tree.Delta, root tree.Base) {
			makes("out")(d, root)
			d.Files[0].Pieces = pieces
			for _, p := range pieces {
				d.Files[0].Size += p.Size
			}
		}
	}
	handle := func(name, line string, o func(st *replica.Start) replica.Open) fileLie {
		return back("handle_"+name, line, func(b *replica.BackMount, st *replica.Start) []tree.Object {
			b.Open = []replica.Open{o(st)}
			return nil
		})
	}
	file := func(h, ino uint64, rights wasi.Rights) replica.Open {
		return replica.Open{Issued: wasi.FD{Handle: h, Kind: wasi.KindFile, Type: vfs.TypeRegular, Base: rights}, Ino: ino}
	}
	some := tree.Object{ID: tree.IDOf([]byte("some bytes")), Data: []byte("some bytes")}
	readOnly := delta("read_only", `changes in "/dir", which is read-only`, makes("out"))
	readOnly.readOnly = true
	much := lie1("data_much", "", func(s *stage, _ *replica.Start) {
		s.tell(wire.FilesData, replica.AppendData(nil, some))
		s.tired()
	})
	much.limit, much.reason = 5, "files, refused"
	rightsHere := handle("read_only", `handle 1099511627777 may write in "/dir", which is read-only`, func(st *replica.Start) replica.Open {
		return file(st.Handles+1, inoOf(*dir, "in"), wasi.RightRead|wasi.RightWrite)
	})
	rightsHere.readOnly = true
	// What cannot be had is no lie: a clone may ask for what has gone since.
	absent := lie1("want_absent", "", func(s *stage, st *replica.Start) {
		top := st.Mounts[0].Root.Ino
		wants := []replica.Want{
			{Ino: top + 1<<40, Size: 1000}, {Ino: top, Size: 10}, {Ino: math.MaxUint64}, {Ino: inoOf(*dir, "link"), Size: 10},
			{Ino: inoOf(*dir, "in"), ID: some.ID, Off: tree.MaxFile, Size: 10}, {Ino: inoOf(*dir, "in"), ID: some.ID, Size: tree.MaxFile},
			{Ino: inoOf(*dir, "in"), ID: some.ID, Size: tree.MaxChunk}, {Ino: top, ID: some.ID}, {Ino: top + 1<<40, ID: some.ID},
		}
		var ask []byte
		for i := range wants {
			ask = wants[i].AppendTo(ask)
		}
		s.tell(wire.FilesWant, ask)
		for left := len(wants); left > 0; {
			for _, g := range s.given() {
				if g.Lack == "" {
					panic(fmt.Sprintf("BUG: given %+v for what there is not", g))
				}
				left--
			}
		}
		s.send(s.refuse())
		s.tired()
	})
	absent.reason = "refused"
	in := func() uint64 { return inoOf(*dir, "in") }
	return []fileLie{
		lie1("back_garbage", "what the clone says of its files cannot be: malformed message about files", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesBack, []byte("\x01\x01garbage"))
		}),
		lie1("back_empty", "what the clone says of its files cannot be: malformed message about files", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesBack, nil)
		}),
		lie1("back_twice", "what the clone says of its files cannot be: its changes come twice", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesBack, (&replica.Back{}).AppendTo(nil))
			s.tell(wire.FilesBack, (&replica.Back{}).AppendTo(nil))
		}),
		lie1("data_garbage", "what the clone says of its files cannot be: malformed message about files", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesData, []byte("garbage"))
		}),
		lie1("data_false", "has other contents", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesData, replica.AppendData(nil, tree.Object{ID: some.ID, Data: []byte("other")}))
		}),
		lie1("kind_start", "files of kind 1", func(s *stage, _ *replica.Start) { s.tell(wire.FilesStart, nil) }),
		lie1("kind_give", "files of kind 2", func(s *stage, _ *replica.Start) { s.tell(wire.FilesGive, nil) }),
		lie1("kind_kept", "files of kind 8", func(s *stage, _ *replica.Start) { s.tell(wire.FilesKept, nil) }),
		lie1("other_offload", "files of offload 2.1 in the midst of 1.1", func(s *stage, _ *replica.Start) {
			s.send(&wire.Files{Offload: 2, Attempt: 1, Kind: wire.FilesWant})
		}),
		lie1("want_garbage", "what the clone says of its files cannot be: malformed message about files", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesWant, []byte{9})
		}),
		lie1("want_mount", "mount 9 is not replicated", func(s *stage, _ *replica.Start) {
			s.tell(wire.FilesWant, (&replica.Want{Mount: 9, Ino: 1}).AppendTo(nil))
		}),
		lie1("call_owned", "open of handle 4, which the clone has itself", func(s *stage, _ *replica.Start) {
			s.give(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: "in", Rights: wasi.RightRead})
		}),
		lie1("state_handle", "wasi state", func(s *stage, st *replica.Start) {
			r := s.answer(1)
			s.wasiState(r, func(w *wasi.State) {
				w.Insert(&wasi.FD{Handle: st.Handles + 1, Kind: wasi.KindFile, Type: vfs.TypeRegular})
			})
			s.back(r)
		}),
		back("mount_unknown", "mount 5", func(b *replica.BackMount, _ *replica.Start) []tree.Object { b.Index = 5; return nil }),
		back("numbers_back", "inode numbers run backwards", func(b *replica.BackMount, st *replica.Start) []tree.Object {
			b.Last = st.Mounts[0].Last - 1
			return nil
		}),
		lie1("mount_twice", "mount 0", func(s *stage, st *replica.Start) {
			m := replica.BackMount{Last: st.Mounts[0].Last}
			s.tell(wire.FilesBack, (&replica.Back{Mounts: []replica.BackMount{m, m}}).AppendTo(nil))
		}),
		back("delta_garbage", `changes in "/dir": read delta`, func(b *replica.BackMount, _ *replica.Start) []tree.Object {
			b.Delta = []byte("garbage")
			return nil
		}),
		readOnly, much, rightsHere, absent,
		delta("dots", `changes in "/dir": read delta`, makes("..")),
		delta("dot", `changes in "/dir": read delta`, makes(".")),
		delta("slash", `changes in "/dir": read delta`, makes("../out")),
		delta("absolute", `changes in "/dir": read delta`, makes("/tmp/out")),
		delta("nameless", `changes in "/dir": read delta`, makes("")),
		delta("nul", `changes in "/dir": read delta`, makes("a\x00b")),
		delta("long", `changes in "/dir": read delta`, makes(strings.Repeat("n", 5000))),
		delta("base_dots", `changes in "/dir": read delta`, func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: root.Ino + 1<<40, Path: "../../etc"})
			d.Dirs = []tree.DirChange{{Ino: root.Ino + 1<<40, Names: []tree.NameChange{{Name: "passwd"}}}}
		}),
		delta("base_absent", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: root.Ino + 1<<40, Path: "nowhere"})
			d.Dirs = []tree.DirChange{{Ino: root.Ino + 1<<40, Names: []tree.NameChange{{Name: "x"}}}}
		}),
		delta("base_other", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: root.Ino + 1<<40, Path: "in"})
			d.Files = []tree.FileChange{{Ino: root.Ino + 1<<40, Kind: tree.KindFile, Written: true}}
		}),
		delta("base_below_link", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: root.Ino + 1<<40, Path: "link/passwd"})
			d.Files = []tree.FileChange{{Ino: root.Ino + 1<<40, Kind: tree.KindFile, Written: true}}
		}),
		delta("into_itself", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			sub := inoOf(*dir, "sub")
			d.Bases = append(d.Bases, tree.Base{Ino: sub, Path: "sub"})
			d.Dirs = []tree.DirChange{
				{Ino: root.Ino, Names: []tree.NameChange{{Name: "sub"}}}, {Ino: sub, Names: []tree.NameChange{{Name: "me", Ino: sub}}},
			}
			slices.SortFunc(d.Dirs, func(a, b tree.DirChange) int { return int(int64(a.Ino) - int64(b.Ino)) })
		}),
		delta("directory_twice", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			sub := inoOf(*dir, "sub")
			d.Bases = append(d.Bases, tree.Base{Ino: sub, Path: "sub"})
			d.Dirs = []tree.DirChange{{Ino: root.Ino, Names: []tree.NameChange{{Name: "sub2", Ino: sub}}}}
		}),
		delta("names_below_file", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: in(), Path: "in"})
			d.Dirs = []tree.DirChange{{Ino: in(), Names: []tree.NameChange{{Name: "x", Ino: isNew}}}}
			d.Files = []tree.FileChange{{Ino: isNew, Kind: tree.KindFile, Written: true}}
		}),
		delta("no_chunk", "did not come", holds(tree.Piece{Size: 10, Chunk: some.ID})),
		delta("kept_of_new", `changes in "/dir": read delta`, holds(tree.Piece{Size: 10, Kept: true})),
		delta("kept_beyond", "changes cannot be of this directory", func(d *tree.Delta, root tree.Base) {
			d.Bases = append(d.Bases, tree.Base{Ino: in(), Path: "in"})
			d.Files = []tree.FileChange{{Ino: in(), Kind: tree.KindFile, Written: true, Size: 1 << 20, Pieces: []tree.Piece{{Kept: true, Size: 1 << 20}}}}
		}),
		delta("sizes", `changes in "/dir": read delta`, func(d *tree.Delta, root tree.Base) {
			holds(tree.Piece{Size: math.MaxInt64, Chunk: some.ID})(d, root)
		}),
		back("chunk_short", "changes cannot be of this directory", func(b *replica.BackMount, st *replica.Start) []tree.Object {
			d := &tree.Delta{Bases: []tree.Base{root(st)}}
			holds(tree.Piece{Size: 5000, Chunk: some.ID})(d, root(st))
			b.Delta = d.AppendTo(nil)
			return []tree.Object{some}
		}),
		handle("again", "handle 4 was opened before", func(*replica.Start) replica.Open { return file(hDir, in(), wasi.RightRead) }),
		handle("stdout", "handle 2 was opened before", func(*replica.Start) replica.Open { return file(hOut, in(), wasi.RightRead) }),
		handle("far", "is no such thing", func(st *replica.Start) replica.Open { return file(st.Handles+1<<40, in(), wasi.RightRead) }),
		handle("rights", "is no such thing", func(st *replica.Start) replica.Open {
			return file(st.Handles+1, in(), wasi.RightRead|wasi.RightReadDir)
		}),
		handle("rights_all", "is no such thing", func(st *replica.Start) replica.Open { return file(st.Handles+1, in(), math.MaxUint64) }),
		handle("preopen", "is no such thing", func(st *replica.Start) replica.Open {
			o := file(st.Handles+1, in(), wasi.RightRead)
			o.Issued.Preopen = "/etc"
			return o
		}),
		handle("stream", "malformed message about files", func(st *replica.Start) replica.Open {
			o := file(st.Handles+1, in(), wasi.RightRead)
			o.Issued.Kind = wasi.KindStream
			return o
		}),
		handle("type", "is no such thing", func(st *replica.Start) replica.Open {
			o := file(st.Handles+1, in(), wasi.RightRead)
			o.Issued.Type = vfs.TypeSymlink
			return o
		}),
		handle("absent", "of a file that was not there", func(st *replica.Start) replica.Open {
			return file(st.Handles+1, in()+1<<40, wasi.RightRead)
		}),
		handle("unmade", "of a file that nobody made", func(st *replica.Start) replica.Open { return file(st.Handles+1, isNew, wasi.RightRead) }),
		handle("directory_as_file", "is of a file of another kind", func(st *replica.Start) replica.Open {
			return file(st.Handles+1, inoOf(*dir, "sub"), wasi.RightRead)
		}),
		back("handle_new_directory_as_file", "is of a file of another kind", func(b *replica.BackMount, st *replica.Start) []tree.Object {
			d := &tree.Delta{Bases: []tree.Base{root(st)}}
			makes("out")(d, root(st))
			d.Files[0].Kind, d.Files[0].Written = tree.KindDir, false
			b.Delta = d.AppendTo(nil)
			b.Open = []replica.Open{file(st.Handles+1, isNew, wasi.RightRead)}
			return nil
		}),
		back("handle_link", "is of a file of another kind", func(b *replica.BackMount, st *replica.Start) []tree.Object {
			b.Open = []replica.Open{file(st.Handles+1, inoOf(*dir, "link"), wasi.RightRead)}
			return nil
		}),
		back("handle_twice", "twice", func(b *replica.BackMount, st *replica.Start) []tree.Object {
			b.Open = []replica.Open{file(st.Handles+1, in(), wasi.RightRead), file(st.Handles+1, in(), wasi.RightRead)}
			return nil
		}),
	}
}

// TestFileLiars runs the guest with clones that lie about files that follow. Each is found out with one line, no file has changed
// by it, and the run ends as one without a cloud does.
func TestFileLiars(t *testing.T) {
	var dir string
	plant := func(t *testing.T) vfs.FS {
		dir = t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "sub", "deep"), []byte("deep"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
			t.Skipf("no symbolic links: %v", err)
		}
		host, err := vfs.OpenHost(dir)
		if err != nil {
			t.Fatal(err)
		}
		return host
	}
	mount := func(readOnly bool, limit uint64, follow bool, state string) func(fs vfs.FS) func(cfg *runner.Config) {
		return func(fs vfs.FS) func(cfg *runner.Config) {
			return func(cfg *runner.Config) {
				cfg.Local.Mounts = []local.Mount{{FS: fs, Guest: "/dir", ReadOnly: readOnly}}
				if !follow {
					return
				}
				cfg.Files = func() *origin.Files {
					return origin.New(origin.Config{
						Mounts: []origin.Mount{{Dir: dir, Guest: "/dir", ReadOnly: readOnly}}, Plans: filepath.Join(state, "plans"), Spool: filepath.Join(state, "spool"),
						Patience: time.Minute, Limit: limit, Log: cfg.Log,
					})
				}
			}
		}
	}
	want := map[bool]*outcome{}
	for _, ro := range []bool{false, true} {
		fs := plant(t)
		want[ro] = playOver(t, nil, fs, mount(ro, 0, false, "")(fs))
	}
	if want[false].end != "exit status 3" || len(want[false].files) != 4 || len(want[true].files) != 3 {
		t.Fatalf("runs without a cloud: %+v", want)
	}
	for _, c := range fileLies(&dir) {
		t.Run(c.name, func(t *testing.T) {
			fs := plant(t)
			state := t.TempDir()
			got := playOver(t, &c.lie, fs, mount(c.readOnly, c.limit, true, state)(fs))
			c.judge(t, want[c.readOnly], got)
			if list, err := os.ReadDir(filepath.Join(state, "plans")); err == nil && len(list) > 0 {
				t.Errorf("plans are left: %v", list)
			}
			for name, want := range map[string]string{"sub/deep": "deep", "in": "what is in the file"} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
					t.Errorf("%s is %q, %v", name, b, err)
				}
			}
			if c.reason == "distrust" && !strings.HasPrefix(strings.Join(got.log, "|"), broke) {
				t.Errorf("log is %q, which does not begin with %q", got.log, broke)
			}
		})
	}
}
