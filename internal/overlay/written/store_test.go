package written

import (
	"bytes"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/tree"
	"pgregory.net/rapid"
)

// TestStoreIsAnArray writes, cuts and reads at random, beside an array that says what must come of it.
func TestStoreIsAnArray(t *testing.T) {
	const most = 5 * BlockSize
	rapid.Check(t, func(r *rapid.T) {
		s := New(t.TempDir(), uint64(rapid.SampledFrom([]int{1, 2 * BlockSize, 1 << 30}).Draw(r, "memory")), 1<<30)
		defer s.Close()
		files := []*File{{}, {}}
		var want [2][most]byte
		var has [2][most]bool
		size := []int{0, 0}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			i := rapid.IntRange(0, 1).Draw(r, "file")
			off := rapid.SampledFrom([]int{0, 1, 100, pageSize, BlockSize - 1, BlockSize, 3*BlockSize + 7}).Draw(r, "off") + rapid.IntRange(0, 50).Draw(r, "more")
			switch n := rapid.SampledFrom([]int{1, 2, 10, 1000, 2 * BlockSize}).Draw(r, "n"); rapid.IntRange(0, 3).Draw(r, "op") {
			case 0, 1:
				n = min(n, most-off)
				b := bytes.Repeat([]byte{rapid.Byte().Draw(r, "byte")}, n)
				if _, err := s.Write(files[i], b, uint64(off)); err != nil {
					r.Fatal(err)
				}
				for j := range n {
					want[i][off+j], has[i][off+j] = b[j], true
				}
				size[i] = max(size[i], off+n)
			case 2:
				if off < size[i] {
					s.Truncate(files[i], uint64(off), uint64(size[i]))
					clear(has[i][off:])
					size[i] = off
				}
			case 3:
				s.Drop(files[i])
				has[i], size[i] = [most]bool{}, 0
			}
		}
		used := uint64(0)
		for i, c := range files {
			got := bytes.Repeat([]byte{0xaa}, most)
			gaps, err := s.Read(c, got, 0)
			if err != nil {
				r.Fatal(err)
			}
			var in [most]bool
			for k, g := range gaps {
				if g.From >= g.To || k > 0 && g.From <= gaps[k-1].To {
					r.Fatalf("gaps %v", gaps)
				}
				for j := g.From; j < g.To; j++ {
					in[j] = true
				}
			}
			var pages [most/pageSize + 1]bool
			for j := range most {
				b, ok := want[i][j], has[i][j]
				if ok == in[j] || ok && got[j] != b {
					r.Fatalf("file %d, byte %d: got %d, gap %v, want %d, %v", i, j, got[j], in[j], b, ok)
				}
				if ok && !pages[j/pageSize] {
					pages[j/pageSize] = true
					used += pageSize
				}
			}
			runs := 0
			for j := range most {
				if !in[j] && (j == 0 || in[j-1]) {
					runs++
				}
			}
			if list := c.Runs(); len(list) != runs {
				r.Fatalf("file %d: runs %v, want %d", i, list, runs)
			}
		}
		if s.used > used+uint64(len(files))*pageSize*16 || s.used < used {
			r.Fatalf("%d bytes are counted, %d are used", s.used, used)
		}
		held := uint64(0)
		for b := s.first; b != nil; b = b.next {
			held += uint64(cap(b.buf))
		}
		if held != s.inMemory || s.inMemory > s.memory && s.first != s.last {
			r.Fatalf("%d bytes in memory, counted as %d of %d", held, s.inMemory, s.memory)
		}
	})
}

// TestSlotsAreUsedAgain has files come and go: the spool does not grow.
func TestSlotsAreUsedAgain(t *testing.T) {
	s := New(t.TempDir(), 1, 1<<30)
	defer s.Close()
	for range 20 {
		var f File
		if _, err := s.Write(&f, make([]byte, 10*BlockSize), 0); err != nil {
			t.Fatal(err)
		}
		s.Drop(&f)
	}
	if s.slots > 11 || s.Used() != 0 {
		t.Errorf("%d slots, %d bytes used", s.slots, s.Used())
	}
}

// TestCrowded finds blocks of too many runs, and none once they are filled.
func TestCrowded(t *testing.T) {
	s := New(t.TempDir(), 1<<20, 1<<30)
	defer s.Close()
	var f File
	pinned := bytes.Repeat([]byte{7}, BlockSize)
	for at := uint64(0); at < 4*maxRanges; at += 2 {
		crowded, err := s.Write(&f, []byte{1}, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range crowded {
			if err := s.Fill(&f, b, bytes.Clone(pinned), 100, at+1); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(f.blocks[0].ranges); n > maxRanges {
			t.Fatalf("%d runs", n)
		}
	}
	got := make([]byte, 200)
	if gaps, err := s.Read(&f, got, 0); err != nil || len(gaps) > 0 {
		t.Fatalf("gaps %v, %v", gaps, err)
	}
	for i, b := range got {
		want := byte(0)
		if i%2 == 0 {
			want = 1
		} else if i < 100 {
			want = 7
		}
		if b != want {
			t.Fatalf("byte %d is %d, want %d", i, b, want)
		}
	}
}

func TestChunkChanged(t *testing.T) {
	s := New(t.TempDir(), 1<<20, 1<<30)
	defer s.Close()
	var f File
	if _, err := s.Write(&f, []byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	p, err := s.Cut(t.Context(), &f, 0, 5)
	if err != nil || len(p.Chunks) != 1 || p.Chunks[0].ID != tree.IDOf([]byte("hello")) || !p.Whole {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := s.Write(&f, []byte("j"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Chunk(&f, p.Chunks[0]); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
}
