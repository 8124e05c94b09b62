package tree

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// cut returns the chunks of what r gives, after checking them against want unless that is nil.
func cut(t testing.TB, r io.Reader, size uint64, want []byte) []Chunk {
	t.Helper()
	var chunks []Chunk
	at := uint64(0)
	err := Cut(r, size, func(c Chunk, data []byte) error {
		if c.Hole() != (data == nil) {
			t.Fatalf("chunk of %d bytes: hole %v, data %v", c.Size, c.Hole(), data != nil)
		}
		switch {
		case want == nil:
		case c.Hole():
			if !allZero(want[at : at+c.Size]) {
				t.Fatalf("hole of %d bytes at %d holds data", c.Size, at)
			}
		case !bytes.Equal(data, want[at:at+c.Size]) || IDOf(data) != c.ID:
			t.Fatalf("chunk at %d has other bytes or another id", at)
		}
		at += c.Size
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := validateChunks(chunks, size); err != nil {
		t.Fatal(err)
	}
	return chunks
}

func TestCutTiers(t *testing.T) {
	for _, size := range []int{0, 1, 100, 16 << 10, 16<<10 + 1, 300 << 10, 5 << 20, 64 << 20} {
		data := noise(1, size)
		chunks := cut(t, bytes.NewReader(data), uint64(size), data)
		tier := tierOf(uint64(size))
		for i, c := range chunks {
			if c.Size > uint64(tier.max) || i < len(chunks)-1 && c.Size < uint64(tier.min) {
				t.Errorf("file of %d: chunk %d has %d bytes", size, i, c.Size)
			}
		}
		if size >= 5<<20 {
			if avg := size / len(chunks); avg < tier.avg/2 || avg > 2*tier.avg {
				t.Errorf("file of %d: chunks of %d bytes on average, want about %d", size, avg, tier.avg)
			}
		}
	}
}

func TestCutInsertionMovesFewChunks(t *testing.T) {
	data := noise(2, 8<<20)
	old := cut(t, bytes.NewReader(data), uint64(len(data)), data)
	data = slices.Insert(data, 3<<20, []byte("a few bytes more")...)
	fresh := 0
	for _, c := range cut(t, bytes.NewReader(data), uint64(len(data)), data) {
		if !slices.Contains(old, c) {
			fresh++
		}
	}
	if fresh == 0 || fresh > 3 {
		t.Errorf("%d of %d chunks are new after an insertion", fresh, len(old))
	}
}

func TestCutHoles(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want []bool // is it a hole
	}{
		{"small", make([]byte, minHole-1), []bool{false}},
		{"zeros", make([]byte, minHole), []bool{true}},
		{"merged", make([]byte, 3<<20), []bool{true}},
		{"tail", slices.Concat(make([]byte, 1<<20), []byte("x")), []bool{true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chunks := cut(t, bytes.NewReader(c.data), uint64(len(c.data)), c.data)
			var got []bool
			for _, c := range chunks {
				got = append(got, c.Hole())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got holes %v, want %v", got, c.want)
			}
		})
	}
}

// sparse is a file of pieces of data in zeros, that counts what is read of it.
type sparse struct {
	size   uint64
	pieces map[uint64][]byte
	read   int
}

func (s *sparse) Read([]byte) (int, error) { return 0, errors.New("read without a place") }

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	at := uint64(off)
	if at >= s.size {
		return 0, io.EOF
	}
	n := int(min(uint64(len(p)), s.size-at))
	clear(p[:n])
	for place, data := range s.pieces {
		if place < at+uint64(n) && place+uint64(len(data)) > at {
			from := max(place, at)
			copy(p[from-at:n], data[from-place:])
		}
	}
	s.read += n
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *sparse) NextData(off uint64) (uint64, error) {
	next := s.size
	for place, data := range s.pieces {
		if place+uint64(len(data)) > off {
			next = min(next, max(place, off))
		}
	}
	return next, nil
}

func TestCutSparseEqualsPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &sparse{size: rapid.Uint64Range(1, 24<<20).Draw(t, "size"), pieces: map[uint64][]byte{}}
		if rapid.Bool().Draw(t, "large") {
			s.size += 64 << 20
		}
		for range rapid.IntRange(0, 3).Draw(t, "pieces") {
			at := rapid.Uint64Range(0, s.size-1).Draw(t, "at") &^ (128<<10 - 1) // so that no two overlap
			s.pieces[at] = noise(at, rapid.IntRange(1, 100<<10).Draw(t, "length"))
		}
		whole := io.NewSectionReader(s, 0, int64(s.size))
		cutAll := func(r io.Reader) (chunks []Chunk) {
			if err := Cut(r, s.size, func(c Chunk, _ []byte) error { chunks = append(chunks, c); return nil }); err != nil {
				t.Fatal(err)
			}
			return chunks
		}
		plain := cutAll(whole)
		plainRead := s.read
		s.read = 0
		if got := cutAll(s); !slices.Equal(got, plain) {
			t.Fatalf("got %v, want %v", got, plain)
		}
		if s.read > plainRead {
			t.Fatalf("read %d bytes, the plain way %d", s.read, plainRead)
		}
	})
}

func TestCutVeryLargeSparse(t *testing.T) {
	s := &sparse{size: 1 << 50, pieces: map[uint64][]byte{1 << 49: noise(3, 1<<20)}}
	chunks := cut(t, s, s.size, nil)
	if s.read > 64<<20 || len(chunks) > 20 {
		t.Errorf("read %d bytes for %d chunks", s.read, len(chunks))
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		size, extents, data uint64
		want                bool
	}{
		{0, 0, 0, true},
		{127 << 30, 1, 127 << 30, true},
		{129 << 30, 1, 129 << 30, false},
		{1 << 50, 10, 1 << 30, true},
		{1 << 50, MaxList, 1 << 30, false},
		{MaxFile + 1, 0, 0, false},
	} {
		if got := Fits(c.size, c.extents, c.data); got != c.want {
			t.Errorf("Fits(%d, %d, %d) = %v, want %v", c.size, c.extents, c.data, got, c.want)
		}
	}
}

func TestCutShort(t *testing.T) {
	err := Cut(bytes.NewReader(make([]byte, 100)), 101, func(Chunk, []byte) error { return nil })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
	}
	fault := errors.New("fault")
	r := io.MultiReader(bytes.NewReader(noise(4, 1<<20)), faulty{fault})
	if err := Cut(r, 2<<20, func(Chunk, []byte) error { return nil }); !errors.Is(err, fault) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if err := Cut(bytes.NewReader(make([]byte, 100)), 100, func(Chunk, []byte) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("got %v, want the receiver's error", err)
	}
}

type faulty struct{ err error }

func (f faulty) Read([]byte) (int, error) { return 0, f.err }

func BenchmarkCut(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"4K", 4 << 10}, {"100K", 100 << 10}, {"32M", 32 << 20}, {"128M", 128 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			data := noise(5, c.size)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for b.Loop() {
				if err := Cut(bytes.NewReader(data), uint64(c.size), func(Chunk, []byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
