package clone_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// dirHandle is that of the directory which work opens files in.
const dirHandle = 4

// filesRig is a host, and a process that has a directory open.
func filesRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.proc.WASI.State.Insert(&wasi.FD{Handle: 3, Kind: wasi.KindOutput, Base: wasi.StreamRights})
	if fd, errno := r.proc.WASI.State.Insert(dirFD()); fd != 3 {
		t.Fatalf("directory is descriptor %d, %v", fd, errno)
	}
	return r
}

func dirFD() *wasi.FD {
	return &wasi.FD{
		Handle: dirHandle, Kind: wasi.KindDir, Type: vfs.TypeDirectory, Base: wasi.DirRights, Inheriting: wasi.DirRights | wasi.FileRights, Preopen: "/dir",
	}
}

// pinned is a directory with the file in, of these contents.
func pinned(t *testing.T, contents []byte) (root tree.Entry, objects []tree.Object) {
	t.Helper()
	id, objects, err := tree.EncodeDir([]tree.Entry{{Name: "in", Kind: tree.KindFile, Flags: tree.Readable | tree.Writable, Mode: 0o644, Ino: 7, Nlink: 1, Size: uint64(len(contents)), Mtime: 1, Ctime: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return tree.Entry{Kind: tree.KindDir, Flags: tree.Readable | tree.Writable | tree.Searchable, Mode: 0o755, Ino: 2, Nlink: 2, Mtime: 1, Ctime: 1, Dir: id}, objects
}

func startOf(root tree.Entry) *replica.Start {
	return &replica.Start{Handles: 100, Now: 1, Mounts: []replica.Mount{{Root: root, Fresh: true, Open: []replica.Open{{Issued: *dirFD(), Ino: root.Ino}}}}}
}

// work has work run over the files of start, until it has read its input.
func (d *device) work(offload uint64, base delta.ID, start []byte) {
	d.t.Helper()
	d.send(&wire.Files{Offload: offload, Attempt: 1, Kind: wire.FilesStart, Data: start})
	c := d.readFirst(offload, base)
	d.send(&wire.HomeResult{Offload: c.Offload, Attempt: c.Attempt, Call: c.Call, Response: (&wasi.Response{N: 8, Data: []byte("12345678")}).AppendTo(nil)})
}

// wants receives what the clone asks for first.
func (d *device) wants() replica.Want {
	d.t.Helper()
	m, ok := d.recv().(*wire.Files)
	if !ok || m.Kind != wire.FilesWant {
		d.t.Fatalf("the clone says %+v", m)
	}
	list, err := replica.DecodeWants(m.Data)
	if err != nil || len(list) == 0 {
		d.t.Fatalf("the clone wants %v, %v", list, err)
	}
	return list[0]
}

func (d *device) give(offload uint64, data []byte) {
	d.send(&wire.Files{Offload: offload, Attempt: 1, Kind: wire.FilesGive, Data: data})
}

// TestFilesOfLiars gives a clone directories and contents that are not what they are said to be: the call is handed back with the
// reason, or the conversation ends, and the host goes on.
func TestFilesOfLiars(t *testing.T) {
	contents := []byte("what is in the file")
	chunk := tree.Object{ID: tree.IDOf(contents), Data: contents}
	list := tree.EncodeList([]tree.Chunk{{ID: chunk.ID, Size: uint64(len(contents))}})
	node := func(d *device, objects []tree.Object) {
		if w := d.wants(); w.ID != objects[0].ID {
			d.t.Fatalf("the clone wants %+v", w)
		}
		d.give(1, replica.AppendObject(nil, objects[0]))
		if w := d.wants(); w.ID != (tree.ID{}) || w.Ino != 7 {
			d.t.Fatalf("the clone wants %+v", w)
		}
	}
	for _, c := range []struct {
		name, why string
		ends      bool // the conversation
		give      func(d *device, objects []tree.Object)
	}{
		{"object_false", "arrived with other contents", true, func(d *device, o []tree.Object) {
			d.wants()
			d.give(1, replica.AppendObject(nil, tree.Object{ID: o[0].ID, Data: []byte("other")}))
		}},
		{"object_unasked_false", "arrived with other contents", true, func(d *device, _ []tree.Object) {
			d.wants()
			d.give(1, replica.AppendObject(nil, tree.Object{ID: chunk.ID, Data: []byte("other")}))
		}},
		{"object_cut", "malformed message about files", true, func(d *device, o []tree.Object) {
			d.wants()
			b := replica.AppendObject(nil, o[0])
			d.give(1, b[:len(b)-1])
		}},
		{"garbage", "malformed message about files", true, func(d *device, _ []tree.Object) { d.wants(); d.give(1, []byte("garbage")) }},
		{"lack", "the device cannot give it: no such luck", false, func(d *device, _ []tree.Object) {
			w := d.wants()
			d.give(1, replica.AppendLack(nil, &w, "no such luck"))
		}},
		{"lack_of_contents", "the device cannot give it: it has changed", false, func(d *device, o []tree.Object) {
			node(d, o)
			d.give(1, replica.AppendLack(nil, &replica.Want{Ino: 7}, "it has changed"))
		}},
		{"list_garbage", "malformed message about files", true, func(d *device, o []tree.Object) {
			node(d, o)
			d.give(1, replica.AppendContent(nil, 0, 7, 0, []byte("garbage")))
		}},
		{"list_short", "7 bytes", false, func(d *device, o []tree.Object) {
			node(d, o)
			d.give(1, replica.AppendContent(nil, 0, 7, 0, tree.EncodeList([]tree.Chunk{{ID: chunk.ID, Size: 7}})))
		}},
		{"list_long", "bytes", false, func(d *device, o []tree.Object) {
			node(d, o)
			d.give(1, replica.AppendContent(nil, 0, 7, 0, tree.EncodeList([]tree.Chunk{{Size: 1 << 40}})))
		}},
		{"chunk_short", "chunk of 5 bytes", false, func(d *device, o []tree.Object) {
			node(d, o)
			five := tree.Object{ID: tree.IDOf([]byte("12345")), Data: []byte("12345")}
			b := replica.AppendContent(nil, 0, 7, 0, tree.EncodeList([]tree.Chunk{{ID: five.ID, Size: uint64(len(contents))}}))
			d.give(1, b)
			d.wants()
			d.give(1, replica.AppendObject(nil, five))
		}},
		{"honest", "", false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := filesRig(t)
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			d := r.ready()
			root, objects := pinned(t, contents)
			d.work(1, d.initial(), startOf(root).AppendTo(nil))
			if c.give == nil { // the honest way, to see that this is one
				node(d, objects)
				d.give(1, replica.AppendObject(replica.AppendContent(nil, 0, 7, 1, list), chunk))
				d.served(contents)
				return
			}
			c.give(d, objects)
			if c.ends {
				m := d.recv()
				if b, ok := m.(*wire.Bye); !ok || b.Code != wire.CodeProtocol || !strings.Contains(b.Text, c.why) {
					t.Errorf("answer %T %+v, want a bye with %q", m, m, c.why)
				}
				d = r.ready()
				d.honest(1, d.initial())
				return
			}
			if why := d.handedBack(); !strings.Contains(why, c.why) {
				t.Errorf("handed back since %q, want %q", why, c.why)
			}
			if s := d.resync(); delta.ID(s.State) != d.initial() {
				t.Errorf("clone stands at %+v", s)
			}
			d.honest(2, d.initial())
		})
	}
}

// served receives what work has done: the file out, made in the directory.
func (d *device) served(contents []byte) {
	d.t.Helper()
	var back *replica.Back
	var data []tree.Object
	for {
		switch m := d.recv().(type) {
		case *wire.Note, *wire.Output:
		case *wire.Files:
			var err error
			switch m.Kind {
			case wire.FilesBack:
				back, err = replica.DecodeBack(m.Data)
			case wire.FilesData:
				data, err = replica.DecodeData(m.Data)
			}
			if err != nil {
				d.t.Fatal(err)
			}
		case *wire.Reintegrate:
			sum := uint32(1)
			for _, b := range append([]byte("12345678"), contents...) {
				sum += uint32(b)
			}
			if m.Outcome != wire.OutcomeResults || back == nil || len(back.Mounts) != 1 || len(data) != 1 || len(data[0].Data) != 4 {
				d.t.Fatalf("answer is %+v, %+v, %d chunks", m, back, len(data))
			}
			change, err := tree.DecodeDelta(back.Mounts[0].Delta)
			if err != nil || len(change.Dirs) != 1 || change.Dirs[0].Names[0] != (tree.NameChange{Name: "out", Ino: tree.FirstNew}) {
				d.t.Errorf("change is %+v, %v", change, err)
			}
			if got := uint32(m.Results[0]); got < sum {
				d.t.Errorf("result is %d, want at least %d", got, sum)
			}
			return
		default:
			d.t.Fatalf("answer is %+v", m)
		}
	}
}

// TestStartOfLiars begins offloads over directories that cannot be: each is refused, and the host goes on.
func TestStartOfLiars(t *testing.T) {
	root, _ := pinned(t, nil)
	spoil := func(f func(s *replica.Start)) []byte {
		s := startOf(root)
		f(s)
		return s.AppendTo(nil)
	}
	for _, c := range []struct {
		name, why string
		start     []byte
	}{
		{"empty", "malformed message about files", nil},
		{"garbage", "malformed message about files", []byte("\x01garbage")},
		{"cut", "malformed message about files", spoil(func(*replica.Start) {})[:40]},
		{"longer", "malformed message about files", append(spoil(func(*replica.Start) {}), 0)},
		{"root_file", "malformed", spoil(func(s *replica.Start) { s.Mounts[0].Root = tree.Entry{Kind: tree.KindFile, Ino: 2, Nlink: 1} })},
		{"root_nothing", "malformed", spoil(func(s *replica.Start) { s.Mounts[0].Root = tree.Entry{} })},
		{"handle_later", "not issued yet", spoil(func(s *replica.Start) { s.Mounts[0].Open[0].Issued.Handle = 101 })},
		{"path_climbs", "malformed", spoil(func(s *replica.Start) { s.Mounts[0].Open[0].Path = "../etc" })},
		{"path_absolute", "malformed", spoil(func(s *replica.Start) { s.Mounts[0].Open[0].Path = "/etc" })},
		{"number", "malformed", spoil(func(s *replica.Start) { s.Mounts[0].Open[0].Ino = 99 })},
		{"kind", "no such file", spoil(func(s *replica.Start) { s.Mounts[0].Open[0].Issued.Kind = wasi.KindFile })},
		{"mounts", "malformed message about files", []byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f}},
		{"numbers", "malformed message about files", bytes.Replace(spoil(func(*replica.Start) {}), []byte{0, 1, dirHandle}, []byte{0xff, 0xff, 0x7f, 1, dirHandle}, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := filesRig(t)
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			d := r.ready()
			d.send(&wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesStart, Data: c.start})
			d.send(d.migrate(1, pure, d.initial(), 100)...)
			switch m := d.recv().(type) {
			case *wire.Refuse: // of what can be read, and not be
				if m.Offload != 1 || !strings.Contains(m.Text, c.why) {
					t.Errorf("refused with %+v, want %q", m, c.why)
				}
				d.resync()
				d.honest(2, d.initial())
			case *wire.Bye:
				if m.Code != wire.CodeProtocol || !strings.Contains(m.Text, c.why) {
					t.Errorf("the conversation ends with %+v, want %q", m, c.why)
				}
				d = r.ready()
				d.honest(1, d.initial())
			default:
				t.Errorf("answer %+v, want a refusal with %q", m, c.why)
			}
		})
	}
}

// TestFilesOutOfPlace sends messages about files that a device does not send, or not there.
func TestFilesOutOfPlace(t *testing.T) {
	r := newRig(t)
	for kind := wire.FilesInvalid + 1; kind < wire.FilesLast; kind++ {
		if kind == wire.FilesStart || kind == wire.FilesGive || kind == wire.FilesPacked {
			continue
		}
		d := r.ready()
		d.send(&wire.Files{Offload: 1, Attempt: 1, Kind: kind})
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		d.send(d.migrate(1, pure, d.initial(), 100)...)
		switch m := d.recv().(type) {
		case *wire.Bye, *wire.Refuse:
		default:
			t.Errorf("kind %d: answer %+v", kind, m)
		}
	}
	only := func(h *wire.Hello) { h.FilesOnly, h.FilesKey = true, [32]byte{1} }
	for name, m := range map[string]wire.Message{
		"migrate": &wire.Commit{Offload: 1, Attempt: 1},
		"have":    &wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesHave, Data: make([]byte, 33)},
		"packed":  &wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesPacked, Data: []byte("garbage")},
		"want":    &wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesWant},
		"start":   &wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesStart, Data: []byte("garbage")},
	} {
		d, _, err := r.dial(only)
		if err != nil {
			t.Fatal(err)
		}
		d.send(m)
		if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeProtocol {
			t.Errorf("%s: answer %+v", name, b)
		}
	}
	// What is given without a word before or after is kept, if it is what it says.
	d, _, err := r.dial(only)
	if err != nil {
		t.Fatal(err)
	}
	some := tree.Object{ID: tree.IDOf([]byte("some bytes")), Data: []byte("some bytes")}
	have := func() byte {
		id := some.ID
		d.send(&wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesHave, Data: id[:]})
		m, ok := d.recv().(*wire.Files)
		if !ok || m.Kind != wire.FilesMiss || len(m.Data) != 1 {
			t.Fatalf("answer %+v", m)
		}
		return m.Data[0]
	}
	if have() != 1 {
		t.Error("it has what nobody gave it")
	}
	d.give(1, replica.AppendObject(nil, some))
	d.send(&wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesKept})
	if m, ok := d.recv().(*wire.Files); !ok || m.Kind != wire.FilesKept {
		t.Errorf("answer %+v", m)
	}
	if have() != 0 {
		t.Error("it has not what it was given")
	}
	d.give(1, replica.AppendObject(nil, tree.Object{ID: tree.IDOf(nil), Data: []byte("false")}))
	d.send(&wire.Files{Offload: 1, Attempt: 1, Kind: wire.FilesKept})
	if b, ok := d.recv().(*wire.Bye); !ok {
		t.Errorf("answer to a false object: %+v", b)
	}
	r.ready().honest(1, r.ready().initial())
}
