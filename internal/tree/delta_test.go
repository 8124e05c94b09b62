package tree

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func sampleDelta() *Delta {
	return &Delta{
		Bases: []Base{{Ino: 5, Path: ""}, {Ino: 7, Path: "a/b"}, {Ino: 9, Path: "a"}},
		Dirs: []DirChange{
			{Ino: 5, Names: []NameChange{{Name: "gone"}, {Name: "new", Ino: FirstNew}, {Name: "x", Ino: 7}}},
			{Ino: FirstNew, Names: []NameChange{{Name: "f", Ino: FirstNew + 1}, {Name: "l", Ino: FirstNew + 2}}},
		},
		Files: []FileChange{
			{Ino: 7, Kind: KindFile, Mtime: 3, Written: true, Size: 30, Pieces: []Piece{{Kept: true, Size: 10}, {Size: 15}, {Size: 5, Chunk: IDOf(nil)}}},
			{Ino: FirstNew, Kind: KindDir, Mtime: 1},
			{Ino: FirstNew + 1, Kind: KindFile, Written: true},
			{Ino: FirstNew + 2, Kind: KindSymlink, Target: "../x", Atime: 8},
		},
	}
}

func TestDeltaRoundTrip(t *testing.T) {
	for name, d := range map[string]*Delta{"sample": sampleDelta(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeDelta(d.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(d, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestDeltaRoundTripRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := randomDelta(t)
		got, err := DecodeDelta(d.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(d, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
	})
}

// randomDelta draws a valid delta.
func randomDelta(t *rapid.T) *Delta {
	d := &Delta{}
	paths := rapid.SliceOfNDistinct(names, 0, 6, rapid.ID).Draw(t, "paths")
	for i, p := range paths {
		d.Bases = append(d.Bases, Base{Ino: uint64(i*3 + 1), Path: p})
		if rapid.Bool().Draw(t, "changed") {
			d.Files = append(d.Files, randomFile(t, uint64(i*3+1)))
		}
	}
	var dirs, all []uint64
	for _, b := range d.Bases {
		all = append(all, b.Ino)
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "new") {
		f := randomFile(t, FirstNew+uint64(i)*2)
		d.Files = append(d.Files, f)
		all = append(all, f.Ino)
	}
	for _, f := range d.Files {
		if f.Kind == KindDir {
			dirs = append(dirs, f.Ino)
		}
	}
	for _, ino := range dirs {
		x := DirChange{Ino: ino}
		for i := range rapid.IntRange(1, 5).Draw(t, "names") {
			n := NameChange{Name: string(rune('a'+i)) + rapid.StringN(0, 5, 20).Filter(func(s string) bool { return ValidName("a" + s) }).Draw(t, "name")}
			if rapid.Bool().Draw(t, "there") {
				n.Ino = rapid.SampledFrom(all).Draw(t, "number")
			}
			x.Names = append(x.Names, n)
		}
		d.Dirs = append(d.Dirs, x)
	}
	return d
}

func randomFile(t *rapid.T, ino uint64) FileChange {
	f := FileChange{
		Ino: ino, Kind: Kind(rapid.IntRange(1, 3).Draw(t, "kind")),
		Mtime: rapid.Uint64().Draw(t, "mtime"), Atime: rapid.Uint64().Draw(t, "atime"),
	}
	fresh := ino >= FirstNew
	if fresh && f.Kind == KindSymlink {
		f.Target = rapid.StringMatching(`[a-z/.]{1,40}`).Draw(t, "target")
	}
	f.Written = f.Kind == KindFile && (fresh || rapid.Bool().Draw(t, "written"))
	if !f.Written {
		return f
	}
	for range rapid.IntRange(0, 5).Draw(t, "pieces") {
		p := Piece{Size: rapid.Uint64Range(1, MaxChunk).Draw(t, "size")}
		switch rapid.IntRange(0, 2).Draw(t, "form") {
		case 0:
			p.Kept = !fresh
		case 1:
			p.Chunk = ids.Draw(t, "chunk")
		}
		f.Size += p.Size
		f.Pieces = append(f.Pieces, p)
	}
	return f
}

func TestDeltaValidate(t *testing.T) {
	if err := sampleDelta().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(d *Delta){
		"base order":        func(d *Delta) { d.Bases[0], d.Bases[1] = d.Bases[1], d.Bases[0] },
		"base new":          func(d *Delta) { d.Bases[2].Ino = FirstNew },
		"base zero":         func(d *Delta) { d.Bases[0].Ino = 0 },
		"base climbs":       func(d *Delta) { d.Bases[1].Path = "a/../b" },
		"base absolute":     func(d *Delta) { d.Bases[1].Path = "/a" },
		"base ends slash":   func(d *Delta) { d.Bases[1].Path = "a/" },
		"base twice":        func(d *Delta) { d.Bases[1].Path = "a" },
		"base long":         func(d *Delta) { d.Bases[1].Path = strings.Repeat("a/", MaxPath/2) + "a" },
		"dir order":         func(d *Delta) { d.Dirs[0], d.Dirs[1] = d.Dirs[1], d.Dirs[0] },
		"dir unknown":       func(d *Delta) { d.Dirs[0].Ino = 6 },
		"dir unknown new":   func(d *Delta) { d.Dirs[1].Ino = FirstNew + 7 },
		"dir is file":       func(d *Delta) { d.Dirs[1].Ino = FirstNew + 1 },
		"dir old is file":   func(d *Delta) { d.Dirs[0].Ino = 7 },
		"dir empty":         func(d *Delta) { d.Dirs[0].Names = nil },
		"name order":        func(d *Delta) { d.Dirs[0].Names[1].Name = "a" },
		"name twice":        func(d *Delta) { d.Dirs[0].Names[1].Name = "gone" },
		"name dots":         func(d *Delta) { d.Dirs[0].Names[0].Name = ".." },
		"name slash":        func(d *Delta) { d.Dirs[0].Names[0].Name = "a/b" },
		"name unknown":      func(d *Delta) { d.Dirs[0].Names[0].Ino = 4 },
		"name unknown new":  func(d *Delta) { d.Dirs[0].Names[0].Ino = FirstNew + 9 },
		"file order":        func(d *Delta) { d.Files[0], d.Files[1] = d.Files[1], d.Files[0] },
		"file unknown":      func(d *Delta) { d.Files[0].Ino = 6 },
		"file kind":         func(d *Delta) { d.Files[0].Kind = KindOther },
		"file huge number":  func(d *Delta) { d.Files[3].Ino = 1 << 63 },
		"file size":         func(d *Delta) { d.Files[0].Size++ },
		"file no pieces":    func(d *Delta) { d.Files[0].Pieces = nil },
		"file not written":  func(d *Delta) { d.Files[0].Written = false },
		"new not written":   func(d *Delta) { d.Files[2].Written = false },
		"dir written":       func(d *Delta) { d.Files[1].Written = true },
		"link no target":    func(d *Delta) { d.Files[3].Target = "" },
		"link nul":          func(d *Delta) { d.Files[3].Target = "a\x00" },
		"file target":       func(d *Delta) { d.Files[2].Target = "a" },
		"piece empty":       func(d *Delta) { d.Files[0].Pieces[1].Size = 0 },
		"piece kept chunk":  func(d *Delta) { d.Files[0].Pieces[0].Chunk = IDOf(nil) },
		"piece large":       func(d *Delta) { d.Files[0].Size += MaxChunk; d.Files[0].Pieces[2].Size += MaxChunk },
		"piece wraps":       func(d *Delta) { d.Files[0].Pieces[1].Size = ^uint64(0) },
		"new keeps":         func(d *Delta) { d.Files[2].Size, d.Files[2].Pieces = 1, []Piece{{Kept: true, Size: 1}} },
		"file beyond limit": func(d *Delta) { d.Files[2].Size, d.Files[2].Pieces = MaxFile+1, []Piece{{Size: MaxFile + 1}} },
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			d := sampleDelta()
			spoil(d)
			if err := d.Validate(); !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
		})
	}
}

func FuzzDecodeDelta(f *testing.F) {
	f.Add(sampleDelta().AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDelta(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("got %v, want ErrFormat", err)
			}
			return
		}
		if !bytes.Equal(d.AppendTo(nil), b) {
			t.Fatal("encoded in another way")
		}
	})
}
