package plan

import (
	"bytes"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/google/go-cmp/cmp"
)

func sampleSteps() *Steps {
	id := tree.IDOf(nil)
	was := Stamp{tree.KindFile, 5, 6, 7, 8}
	return &Steps{
		Made: []Made{{Ino: tree.FirstNew, Kind: tree.KindFile, Num: 9, Named: true}, {Ino: tree.FirstNew + 1, Kind: tree.KindDir, Num: 10}},
		Writes: []Write{{
			Path: "a/b", Was: was, Final: "c", Written: true, Mode: 0o644, Size: 30, Mtime: 1, Atime: 2,
			Pieces: []Piece{{Size: 10, Form: FormKept}, {Size: 5}, {Size: 15, Form: FormData, Off: 20, Check: id}},
			Chunks: []tree.Chunk{{ID: id, Size: 3}},
		}, {Path: "x", Was: was, Nameless: true, Mtime: 3}},
		Displaced: []Displacement{{Path: "a/b", Was: was, Sole: true, Write: 0}, {Path: "a", Was: Stamp{Kind: tree.KindDir, Ino: 3}, Gone: true, Takes: 1, Write: -1}},
		Places:    []Placement{{Path: "c", From: "o0", Kind: tree.KindFile, Ino: 5}, {Path: "d", From: "n0", Kind: tree.KindFile, Made: true, Ino: tree.FirstNew}},
		Links:     []Link{{Path: "e", To: "d", Made: 0, Ino: tree.FirstNew}, {Path: "f", To: "c", Num: 5, Made: -1, Ino: 5}},
		Times:     []DirTimes{{Path: "", Mtime: 4}, {Path: "a", Atime: 4}},
	}
}

func TestStepsRoundTrip(t *testing.T) {
	b := sampleSteps().Append(nil)
	got, err := DecodeSteps(b, 35)
	if err != nil {
		t.Fatal(err)
	}
	all := cmp.AllowUnexported(Steps{}, Made{}, Write{}, Piece{}, Displacement{}, Placement{}, Link{}, DirTimes{}, Stamp{})
	if diff := cmp.Diff(sampleSteps(), got, all); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for i := range b {
		if _, err := DecodeSteps(b[:i], 35); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: got %v", i, len(b), err)
		}
	}
	if _, err := DecodeSteps(append(b, 0), 35); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: got %v", err)
	}
	if _, err := DecodeSteps(b, 34); !errors.Is(err, ErrDamaged) {
		t.Errorf("data behind its end: got %v", err)
	}
}

func FuzzDecodeSteps(f *testing.F) {
	f.Add(sampleSteps().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSteps(b, 1<<20)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			return
		}
		again, err := DecodeSteps(s.Append(nil), 1<<20)
		if err != nil || !bytes.Equal(again.Append(nil), s.Append(nil)) {
			t.Fatalf("not read back: %v", err)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	h := Header{"/dir", 77, CloneWins, "2026-01-02"}
	f.Add(h.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := DecodeHeader(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			return
		}
		if h2, _, err := DecodeHeader(h.Append(nil)); err != nil || *h2 != *h || n > len(b) {
			t.Fatalf("got %v, %v, want %v", h2, err, h)
		}
	})
}

func FuzzDecodeNotes(f *testing.F) {
	c := Conflict{Path: "a", Aside: "b", Kind: KindChanged, Mixed: true}
	var whole []byte
	for _, r := range []struct {
		kind    uint8
		payload []byte
	}{
		{NoteBegun, AppendIndex(AppendIndex(nil, 3), 300)}, {NoteDone, AppendIndex(nil, 3)}, {NoteSkipped, AppendIndex(nil, 4)},
		{NotePhase, []byte{1}}, {NoteMoved, AppendString(AppendString(nil, "x"), "y")}, {NoteConflict, c.Append(nil)},
	} {
		whole = AppendNote(whole, r.kind, r.payload)
	}
	p, size := DecodeNotes(whole)
	if size != len(whole) || !p.Begun[300] || !p.Done[3] || !p.Skipped[4] || p.Phase != 1 || p.Moved["x"] != "y" || len(p.Conflicts) != 1 || p.Conflicts[0] != c {
		f.Fatalf("got %+v of %d bytes", p, size)
	}
	for i := range whole {
		if _, size := DecodeNotes(whole[:i]); size > i {
			f.Fatalf("%d bytes of %d", size, i)
		}
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, size := DecodeNotes(b); size < 0 || size > len(b) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
	})
}
