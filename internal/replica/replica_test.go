package replica

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

func start() *Start {
	return &Start{Handles: 1 << 40, Now: 1234567890123456789, Mounts: []Mount{
		{
			Index: 0, Dev: 1, ReadOnly: true, Root: tree.Entry{Kind: tree.KindDir, Flags: tree.Readable | tree.Searchable, Mode: 0o755, Ino: 7, Nlink: 2, Size: 4096, Dir: tree.ID{1}},
			Fresh: true, Last: 19, Numbers: []local.Number{{Ino: 7, Virtual: 16}, {Ino: 1 << 60, Virtual: 19}},
			Open: []Open{
				{Issued: wasi.FD{Handle: 4, Kind: wasi.KindDir, Type: vfs.TypeDirectory, Base: wasi.DirRights, Inheriting: wasi.FileRights, Preopen: "/data"}, Ino: 7, Virtual: 16},
				{Issued: wasi.FD{Handle: 9, Kind: wasi.KindFile, Type: vfs.TypeRegular, Base: wasi.RightRead}, Ino: 1 << 60, Virtual: 19, Path: "a/b"},
			},
		},
		{Index: 3, Dev: 4, Cold: true, Root: tree.Entry{Kind: tree.KindDir, Ino: 2, Dir: tree.ID{2}}, Last: 15, Open: []Open{
			{Issued: wasi.FD{Handle: 5, Kind: wasi.KindDir, Type: vfs.TypeDirectory}, Listing: []wasi.Dirent{{Name: ".", Ino: 16, Type: vfs.TypeDirectory}, {Name: "x", Ino: 17, Type: vfs.TypeRegular}}},
		}},
	}}
}

func back() *Back {
	return &Back{Mounts: []BackMount{
		{Index: 3, Last: 40, Delta: []byte("delta"), Numbers: []local.Number{{Ino: tree.FirstNew, Virtual: 40}, {Ino: 12}}, Open: []Open{
			{Issued: wasi.FD{Handle: 1<<40 + 1, Kind: wasi.KindFile, Type: vfs.TypeRegular, Base: wasi.FileRights}, Ino: tree.FirstNew, Virtual: 40},
		}},
		{Index: 0, Last: 19},
	}}
}

func TestMessages(t *testing.T) {
	s, err := DecodeStart(start().AppendTo(nil))
	if err != nil || !reflect.DeepEqual(s, start()) {
		t.Errorf("start: got %+v, %v", s, err)
	}
	b, err := DecodeBack(back().AppendTo(nil))
	if err != nil || !reflect.DeepEqual(b, back()) {
		t.Errorf("back: got %+v, %v", b, err)
	}
	wants := []Want{{Mount: 1, Ino: 2, ID: tree.ID{3}, Off: 4, Size: 5}, {Mount: 0, Ino: 1 << 63, Size: 9}}
	var enc []byte
	for i := range wants {
		enc = wants[i].AppendTo(enc)
	}
	if got, err := DecodeWants(enc); err != nil || !reflect.DeepEqual(got, wants) {
		t.Errorf("wants: got %+v, %v", got, err)
	}
	o := tree.Object{ID: tree.ID{9}, Data: []byte("object")}
	give := AppendLack(AppendContent(AppendObject(nil, o), 1, 2, 3, []byte("list")), &wants[0], strings.Repeat("why", 1000))
	got, err := DecodeGive(give)
	if err != nil || len(got) != 3 {
		t.Fatalf("give: got %+v, %v", got, err)
	}
	if !reflect.DeepEqual(got[0].Object, o) || string(got[1].List) != "list" || got[1].Follow != 3 || got[2].ID != wants[0].ID || len(got[2].Lack) != maxText {
		t.Errorf("give: got %+v", got)
	}
	if got, err := DecodeData(AppendData(nil, o)); err != nil || !reflect.DeepEqual(got, []tree.Object{o}) {
		t.Errorf("data: got %+v, %v", got, err)
	}
}

// TestTruncated: no part of a message is a message.
func TestTruncated(t *testing.T) {
	for name, m := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"start": {start().AppendTo(nil), func(b []byte) error { _, err := DecodeStart(b); return err }},
		"back":  {back().AppendTo(nil), func(b []byte) error { _, err := DecodeBack(b); return err }},
		"check": {AppendCheck(nil, true), func(b []byte) error { _, err := DecodeCheck(b); return err }},
		"done":  {checked(CheckDone).AppendTo(nil), func(b []byte) error { _, err := DecodeChecked(b); return err }},
		"fault": {checked(CheckFailed).AppendTo(nil), func(b []byte) error { _, err := DecodeChecked(b); return err }},
	} {
		for n := range m.b {
			if err := m.decode(m.b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: got %v", name, n, err)
			}
		}
		if err := m.decode(append(bytes.Clone(m.b), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte too many: got %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(start().AppendTo(nil))
	f.Add(back().AppendTo(nil))
	f.Add(checked(CheckDone).AppendTo(nil))
	f.Add(checked(CheckFailed).AppendTo(nil))
	f.Add((&Want{Mount: 1, Ino: 2, ID: tree.ID{3}}).AppendTo(nil))
	f.Add(AppendContent(AppendObject(nil, tree.Object{Data: []byte("x")}), 1, 2, 3, []byte("list")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeStart(b); err == nil {
			if again, err := DecodeStart(s.AppendTo(nil)); err != nil || !reflect.DeepEqual(s, again) {
				t.Errorf("start is %+v, %v again", again, err)
			}
		}
		if m, err := DecodeBack(b); err == nil {
			if again, err := DecodeBack(m.AppendTo(nil)); err != nil || !reflect.DeepEqual(m, again) {
				t.Errorf("back is %+v, %v again", again, err)
			}
		}
		if c, err := DecodeChecked(b); err == nil {
			if again, err := DecodeChecked(c.AppendTo(nil)); err != nil || !reflect.DeepEqual(c, again) {
				t.Errorf("check is %+v, %v again", again, err)
			}
		}
		_, _ = DecodeCheck(b)
		_, _ = DecodeWants(b)
		_, _ = DecodeGive(b)
		_, _ = DecodeData(b)
	})
}
