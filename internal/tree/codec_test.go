package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var names = rapid.Custom(func(t *rapid.T) string {
	s := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9._ -]{1,20}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, MaxName), func(b []byte) string { return string(b) }),
	).Filter(ValidName).Draw(t, "name")
	return s
})

var ids = rapid.Custom(func(t *rapid.T) ID {
	return IDOf([]byte{rapid.Byte().Draw(t, "a"), rapid.Byte().Draw(t, "b")})
})

var chunksOf = rapid.Custom(func(t *rapid.T) []Chunk {
	var list []Chunk
	for range rapid.IntRange(0, 12).Draw(t, "chunks") {
		c := Chunk{Size: rapid.Uint64Range(1, 1<<40).Draw(t, "hole")}
		if rapid.Bool().Draw(t, "data") {
			c = Chunk{ID: ids.Draw(t, "id"), Size: rapid.Uint64Range(1, MaxChunk).Draw(t, "size")}
		}
		list = append(list, c)
	}
	return list
})

var entries = rapid.Custom(func(t *rapid.T) Entry {
	e := Entry{
		Name: names.Draw(t, "name"), Kind: Kind(rapid.IntRange(1, int(numKinds)-1).Draw(t, "kind")),
		Flags: Flags(rapid.IntRange(0, int(Shared)*2-1).Draw(t, "flags")), Mode: rapid.Uint32Range(0, maxMode).Draw(t, "mode"),
		Ino: rapid.Uint64Range(1, FirstNew-1).Draw(t, "ino"), Nlink: rapid.Uint32().Draw(t, "nlink"),
		Size: rapid.Uint64Range(0, MaxFile).Draw(t, "size"), Mtime: rapid.Uint64().Draw(t, "mtime"), Ctime: rapid.Uint64().Draw(t, "ctime"),
	}
	switch e.Kind {
	case KindFile:
		if !rapid.Bool().Draw(t, "hashed") {
			break
		}
		e.Flags |= Hashed
		chunks := chunksOf.Draw(t, "chunks")
		e.Size = 0
		for _, c := range chunks {
			e.Size += c.Size
		}
		if e.Chunks = chunks; len(chunks) > MaxInline {
			e.Chunks, e.List = nil, IDOf(EncodeList(chunks))
		}
	case KindDir:
		e.Dir = ids.Draw(t, "dir")
	case KindSymlink:
		e.Target = rapid.StringMatching(`[a-z/.]{1,40}`).Draw(t, "target")
	case KindOther:
		e.Type = rapid.Byte().Draw(t, "type")
	}
	return e
})

// load reads a directory back from its objects.
func load(t testing.TB, root ID, objects []Object) []Entry {
	t.Helper()
	byID := map[ID][]byte{}
	for _, o := range objects {
		if IDOf(o.Data) != o.ID {
			t.Fatal("an object has another's id")
		}
		byID[o.ID] = o.Data
	}
	if objects[len(objects)-1].ID != root {
		t.Fatal("the root is not the last object")
	}
	n, err := DecodeNode(byID[root])
	if err != nil {
		t.Fatal(err)
	}
	all := n.Entries
	for i := range n.Leaves {
		leaf, err := DecodeNode(byID[n.Leaves[i].ID])
		if err != nil {
			t.Fatal(err)
		}
		next := ""
		if i+1 < len(n.Leaves) {
			next = n.Leaves[i+1].First
		}
		if err := n.Leaves[i].Check(leaf, next); err != nil {
			t.Fatal(err)
		}
		all = append(all, leaf.Entries...)
	}
	return all
}

func TestDirRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfNDistinct(entries, 0, 20, func(e Entry) string { return e.Name }).Draw(t, "entries")
		slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
		root, objects, err := EncodeDir(list)
		if err != nil {
			t.Fatal(err)
		}
		n, err := DecodeNode(objects[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		if d := gocmp.Diff(list, n.Entries, cmpopts.EquateEmpty()); d != "" || root != objects[0].ID {
			t.Fatalf("-want +got\n%s", d)
		}
		for _, e := range list {
			got, err := DecodeEntry(e.AppendTo(nil))
			if d := gocmp.Diff(e, got, cmpopts.EquateEmpty()); err != nil || d != "" {
				t.Fatalf("entry: %v, -want +got\n%s", err, d)
			}
		}
	})
}

func many(n int) []Entry {
	list := make([]Entry, n)
	for i := range list {
		list[i] = Entry{Name: fmt.Sprintf("file-%07d.txt", i), Kind: KindFile, Flags: Readable, Ino: uint64(i + 1), Nlink: 1, Size: uint64(i)}
	}
	return list
}

func same(a, b []Entry) bool {
	return slices.EqualFunc(a, b, func(a, b Entry) bool { return bytes.Equal(a.append(nil), b.append(nil)) })
}

func TestLargeDirChangesOneLeaf(t *testing.T) {
	list := many(20_000)
	root, objects, err := EncodeDir(list)
	if err != nil {
		t.Fatal(err)
	}
	if !same(list, load(t, root, objects)) {
		t.Fatal("read back as something else")
	}
	if avg := len(list) / len(objects); avg < 180 || avg > 360 {
		t.Errorf("leaves of %d entries on average, want about 256", avg)
	}
	known := map[ID]bool{}
	for _, o := range objects {
		known[o.ID] = true
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		i := rng.IntN(len(list))
		changed := slices.Clone(list)
		switch rng.IntN(3) {
		case 0:
			changed[i].Mtime++
		case 1:
			changed = slices.Delete(changed, i, i+1)
		default:
			e := changed[i]
			e.Name += "+"
			changed = slices.Insert(changed, i+1, e)
		}
		root, objects, err := EncodeDir(changed)
		if err != nil {
			t.Fatal(err)
		}
		fresh := 0
		for _, o := range objects {
			if !known[o.ID] {
				fresh++
			}
		}
		// A name that began a leaf may go: then two leaves become one.
		if fresh < 2 || fresh > 5 {
			t.Errorf("%d objects are new after one change", fresh)
		}
		if !same(changed, load(t, root, objects)) {
			t.Fatal("read back as something else")
		}
	}
}

func TestEncodeDirRefuses(t *testing.T) {
	good := Entry{Name: "b", Kind: KindFile, Ino: 1}
	with := func(change func(*Entry)) []Entry { e := good; change(&e); return []Entry{e} }
	for name, list := range map[string][]Entry{
		"order":      {good, {Name: "a", Kind: KindFile, Ino: 2}},
		"twice":      {good, good},
		"no name":    with(func(e *Entry) { e.Name = "" }),
		"dots":       with(func(e *Entry) { e.Name = ".." }),
		"slash":      with(func(e *Entry) { e.Name = "a/b" }),
		"nul":        with(func(e *Entry) { e.Name = "a\x00b" }),
		"long":       with(func(e *Entry) { e.Name = strings.Repeat("x", MaxName+1) }),
		"kind":       with(func(e *Entry) { e.Kind = numKinds }),
		"number":     with(func(e *Entry) { e.Ino = 0 }),
		"new number": with(func(e *Entry) { e.Ino = FirstNew }),
		"mode":       with(func(e *Entry) { e.Mode = 1 << 12 }),
		"no node":    with(func(e *Entry) { e.Kind = KindDir }),
		"no target":  with(func(e *Entry) { e.Kind = KindSymlink }),
		"target":     with(func(e *Entry) { e.Target = "x" }),
		"not hashed": with(func(e *Entry) { e.List = IDOf(nil) }),
		"sum":        with(func(e *Entry) { e.Flags, e.Size = Hashed, 3; e.Chunks = []Chunk{{Size: 2}} }),
		"sum wraps": with(func(e *Entry) {
			e.Flags = Hashed
			e.Chunks = []Chunk{{Size: MaxFile}, {Size: MaxFile}, {Size: MaxFile}, {Size: MaxFile}}
		}),
		"large chunk":  with(func(e *Entry) { e.Flags, e.Size = Hashed, 2<<20; e.Chunks = []Chunk{{Size: 2 << 20, ID: IDOf(nil)}} }),
		"hashed a dir": with(func(e *Entry) { e.Kind, e.Dir, e.Flags = KindDir, IDOf(nil), Hashed }),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if _, _, err := EncodeDir(list); err == nil {
				t.Error("no error")
			}
			// What the encoder would have made of it, the decoder must refuse as well.
			b := []byte{version, sortLeaf, byte(len(list))}
			for i := range list {
				b = list[i].append(b)
			}
			if n, err := DecodeNode(b); !errors.Is(err, ErrFormat) && name != "not hashed" && name != "target" {
				t.Errorf("decoded as %+v, %v", n, err)
			}
		})
	}
}

func TestDecodeRefusesEachPrefixAndExcess(t *testing.T) {
	e := Entry{Name: "n", Kind: KindFile, Ino: 300, Flags: Hashed, Size: 5, Chunks: []Chunk{{ID: IDOf(nil), Size: 5}}}
	_, leaf, err := EncodeDir([]Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	_, index, err := EncodeDir(many(2000))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"entry": {e.AppendTo(nil), func(b []byte) error { _, err := DecodeEntry(b); return err }},
		"leaf":  {leaf[0].Data, func(b []byte) error { _, err := DecodeNode(b); return err }},
		"index": {index[len(index)-1].Data, func(b []byte) error { _, err := DecodeNode(b); return err }},
		"list":  {EncodeList([]Chunk{{Size: 3}, {ID: IDOf(nil), Size: 2}}), func(b []byte) error { _, err := DecodeList(b); return err }},
		"delta": {sampleDelta().AppendTo(nil), func(b []byte) error { _, err := DecodeDelta(b); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.decode(c.b); err != nil {
				t.Fatal(err)
			}
			for i := range c.b {
				if err := c.decode(c.b[:i]); !errors.Is(err, ErrFormat) {
					t.Errorf("%d of %d bytes: got %v, want ErrFormat", i, len(c.b), err)
				}
			}
			if err := c.decode(append(slices.Clone(c.b), 0)); !errors.Is(err, ErrFormat) {
				t.Errorf("a byte too many: got %v, want ErrFormat", err)
			}
		})
	}
}

func TestListRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := chunksOf.Draw(t, "chunks")
		got, err := DecodeList(EncodeList(chunks))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, chunks) {
			t.Fatalf("got %v, want %v", got, chunks)
		}
	})
	if _, err := DecodeList(EncodeList([]Chunk{{Size: MaxFile}, {Size: 1}})); !errors.Is(err, ErrFormat) {
		t.Errorf("list beyond MaxFile: got %v, want ErrFormat", err)
	}
}

func TestNumbersTakeTheFewestBytes(t *testing.T) {
	for _, s := range []string{"\x80\x00", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80", ""} {
		r := reader{text: s}
		if r.uint("number", 1<<64-1); !errors.Is(r.err, ErrFormat) {
			t.Errorf("%q: got %v, want ErrFormat", s, r.err)
		}
	}
	r := reader{text: "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}
	if v := r.uint("number", 1<<64-1); v != 1<<64-1 || r.err != nil {
		t.Errorf("got %d, %v", v, r.err)
	}
}

func FuzzDecodeNode(f *testing.F) {
	_, objects, err := EncodeDir(many(600))
	if err != nil {
		f.Fatal(err)
	}
	for _, o := range objects {
		f.Add(o.Data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := DecodeNode(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("got %v, want ErrFormat", err)
			}
			return
		}
		if len(n.Leaves) > 0 || len(n.Entries) > leafAlone {
			return
		}
		_, again, err := EncodeDir(n.Entries)
		if err != nil || !bytes.Equal(again[0].Data, b) {
			t.Fatalf("encoded again: %v, %x, want %x", err, again, b)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	e := Entry{Kind: KindDir, Ino: 300, Dir: IDOf(nil)}
	f.Add(e.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := DecodeEntry(b); err == nil && !bytes.Equal(e.AppendTo(nil), b) {
			t.Fatalf("%+v is encoded in another way", e)
		}
	})
}

func FuzzDecodeList(f *testing.F) {
	f.Add(EncodeList([]Chunk{{Size: 3}, {ID: IDOf(nil), Size: 2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeList(b); err == nil && !bytes.Equal(EncodeList(c), b) {
			t.Fatalf("%v is encoded in another way", c)
		}
	})
}

func BenchmarkEncodeDir(b *testing.B) {
	list := many(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := EncodeDir(list); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(list)), "ns/entry")
}
