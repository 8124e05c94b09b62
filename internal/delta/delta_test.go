package delta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// apply decodes a stream over a copy of base and returns the memory after it.
func apply(r io.Reader, base []byte, lim Limits) ([]byte, *Decoder, error) {
	d, err := NewDecoder(r, lim)
	if err != nil {
		return nil, nil, err
	}
	mem := make([]byte, d.Header().MemoryBytes)
	copy(mem, base)
	for {
		p, data, err := d.Next()
		if err == io.EOF {
			return mem, d, nil
		}
		if err != nil {
			return nil, d, err
		}
		copy(mem[int(p)*PageSize:], data)
	}
}

// baseOf looks pages up in a memory.
func baseOf(mem []byte) func(uint32) []byte {
	return func(p uint32) []byte {
		if (int(p)+1)*PageSize > len(mem) {
			return nil
		}
		return mem[int(p)*PageSize:][:PageSize]
	}
}

// fill makes one of the kinds of page that programs have.
func fill(r *rand.Rand, kind int, page, base []byte) {
	switch kind {
	case 0:
		clear(page)
	case 1: // random
		for i := range page {
			page[i] = byte(r.Uint32())
		}
	case 2: // compressible
		copy(page, bytes.Repeat([]byte{byte(r.Uint32()), 2, 3, byte(r.Uint32()), 0, 0, 0, 0}, PageSize/8))
	case 3: // a few changes
		copy(page, base)
		for range r.IntN(20) {
			at := r.IntN(PageSize)
			for i := at; i < min(PageSize, at+1+r.IntN(12)); i++ {
				page[i] ^= byte(r.Uint32())
			}
		}
	case 4: // as before
		copy(page, base)
	case 5: // one end
		copy(page, base)
		page[r.IntN(2)*(PageSize-1)]++
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		baseLen := wasmPage * rapid.IntRange(0, 4).Draw(t, "base")
		memLen := baseLen + wasmPage*rapid.IntRange(0, 2).Draw(t, "grown")
		base, mem := make([]byte, baseLen), make([]byte, memLen)
		for p := range baseLen / PageSize {
			fill(r, r.IntN(3), base[p*PageSize:][:PageSize], nil)
		}
		copy(mem, base)
		var pages []uint32
		share := rapid.IntRange(0, 10).Draw(t, "share")
		kinds := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 4).Draw(t, "kinds")
		for p := range memLen / PageSize {
			if r.IntN(10) < share {
				pages = append(pages, uint32(p))
				page := mem[p*PageSize:][:PageSize]
				fill(r, kinds[r.IntN(len(kinds))], page, slices.Clone(page))
			}
		}
		opt := Options{Compress: rapid.Bool().Draw(t, "compress")}
		if rapid.Bool().Draw(t, "diff") {
			opt.Base = baseOf(base)
		}
		h := Header{Base: ID{1, 2, 3}, MemoryBytes: uint64(memLen), Pages: uint32(len(pages))}
		var buf bytes.Buffer
		stats, sum, err := Encode(&buf, h, mem, slices.Values(pages), opt)
		if err != nil {
			t.Fatal(err)
		}
		if stats.Bytes != uint64(buf.Len()) {
			t.Fatalf("Stats.Bytes = %d, wrote %d", stats.Bytes, buf.Len())
		}
		var rd io.Reader = bytes.NewReader(buf.Bytes())
		if rapid.Bool().Draw(t, "dribble") {
			rd = iotest.HalfReader(rd)
		}
		got, d, err := apply(rd, base, Limits{Base: baseOf(base)})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, mem) {
			t.Fatal("memory differs")
		}
		if d.Digest() != sum || d.Header() != h {
			t.Fatalf("digest %x, header %+v; want %x, %+v", d.Digest(), d.Header(), sum, h)
		}
		if d.Stats().Pages != stats.Pages {
			t.Fatalf("decoder counts %v, encoder %v", d.Stats().Pages, stats.Pages)
		}
		// The digest does not depend on the encoding.
		if _, plain, err := Encode(io.Discard, h, mem, slices.Values(pages), Options{}); err != nil || plain != sum {
			t.Fatalf("plain digest %x, %v; want %x", plain, err, sum)
		}
	})
}

// sample is a stream with every encoding; its base memory; its memory.
func sample(t testing.TB) (stream, base, mem []byte, pages []uint32) {
	r := rand.New(rand.NewPCG(1, 2))
	base, mem = make([]byte, 2*wasmPage), make([]byte, 2*wasmPage)
	for p := range 32 {
		fill(r, 2, base[p*PageSize:][:PageSize], nil)
	}
	copy(mem, base)
	for _, p := range []uint32{1, 2, 5, 9, 10, 11, 20, 21, 22, 31} {
		page := mem[p*PageSize:][:PageSize]
		fill(r, map[uint32]int{1: 0, 2: 0, 5: 1, 9: 2, 10: 2, 11: 3, 20: 3, 21: 5, 22: 1, 31: 2}[p], page, slices.Clone(page))
		pages = append(pages, p)
	}
	var buf bytes.Buffer
	h := Header{Base: ID{7}, MemoryBytes: uint64(len(mem)), Pages: uint32(len(pages))}
	stats, _, err := Encode(&buf, h, mem, slices.Values(pages), Options{Base: baseOf(base), Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	for e, n := range stats.Pages[:Left] {
		if n == 0 {
			t.Fatalf("sample has no page of encoding %v", Encoding(e))
		}
	}
	return buf.Bytes(), base, mem, pages
}

// TestDamage flips many bits and cuts at each length: never a wrong memory, never a panic.
func TestDamage(t *testing.T) {
	stream, base, mem, _ := sample(t)
	for n := range stream {
		if _, _, err := apply(bytes.NewReader(stream[:n]), base, Limits{Base: baseOf(base)}); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut at %d: error %v, want ErrFormat", n, err)
		}
	}
	step := 31
	if testing.Short() {
		step = 97
	}
	for n := 0; n < len(stream)*8; n += step {
		bad := slices.Clone(stream)
		bad[n/8] ^= 1 << (n % 8)
		got, _, err := apply(bytes.NewReader(bad), base, Limits{Base: baseOf(base)})
		if err == nil && !bytes.Equal(got, mem) {
			t.Fatalf("bit %d flipped: wrong memory taken for right", n)
		}
	}
	if _, _, err := apply(bytes.NewReader(append(slices.Clone(stream), 0)), base, Limits{Base: baseOf(base)}); !errors.Is(err, ErrFormat) {
		t.Fatalf("byte after the end: error %v, want ErrFormat", err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	stream, base, _, _ := sample(t)
	other := slices.Clone(base)
	for i := range other {
		other[i] ^= byte(i)
	}
	head := func(memory uint64, pages uint32) string {
		h := Header{MemoryBytes: memory, Pages: pages}
		return string(h.appendTo([]byte(magic)))
	}
	full := func(b ...byte) string { return string(b) }
	for _, tc := range []struct {
		name, in string
		lim      Limits
		want     error
	}{
		{"empty", "", Limits{}, ErrFormat},
		{"magic", "xxxx" + strings.Repeat("0", 100), Limits{}, ErrFormat},
		{"memory-odd", head(5, 0), Limits{}, ErrFormat},
		{"memory-huge", head(1<<33, 0), Limits{}, ErrFormat},
		{"memory-limit", head(1<<20, 0), Limits{MaxMemory: 1 << 19}, ErrLimit},
		{"pages-beyond", head(wasmPage, 17), Limits{}, ErrFormat},
		{"pages-limit", head(wasmPage, 5), Limits{MaxPages: 4}, ErrLimit},
		{"left", head(wasmPage, 1) + full(0, byte(Left), 1), Limits{}, ErrUnsupported},
		{"unknown-encoding", head(wasmPage, 1) + full(0, 9, 1), Limits{}, ErrFormat},
		{"gap-beyond", head(wasmPage, 1) + full(16, 0, 1), Limits{}, ErrFormat},
		{"run-beyond-memory", head(wasmPage, 4) + full(15, 0, 2), Limits{}, ErrFormat},
		{"run-beyond-count", head(wasmPage, 1) + full(0, 0, 2), Limits{}, ErrFormat},
		{"run-none", head(wasmPage, 1) + full(0, 0, 0), Limits{}, ErrFormat},
		{"varint-long", head(wasmPage, 1) + full(0x80, 0x80, 0x80, 0x80, 0x80, 0), Limits{}, ErrFormat},
		{"s2-long", head(wasmPage, 1) + full(0, byte(S2), 1, 0xff, 0xff, 3), Limits{}, ErrFormat},
		{"s2-other-size", head(wasmPage, 1) + full(0, byte(S2), 1, 2, 1, 0), Limits{}, ErrFormat},
		{"diff-run", head(wasmPage, 2) + full(0, byte(Diff), 2), Limits{}, ErrFormat},
		{"diff-no-base", head(wasmPage, 1) + full(0, byte(Diff), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), Limits{}, ErrBase},
		{"digest", head(0, 0) + strings.Repeat("0", 32), Limits{}, ErrDigest},
		{"wrong-base", string(stream), Limits{Base: baseOf(other)}, ErrBase},
		{"no-base", string(stream), Limits{}, ErrBase},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, err := apply(strings.NewReader(tc.in), base, tc.lim); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
		})
	}
	boom := errors.New("boom")
	if _, _, err := apply(io.MultiReader(bytes.NewReader(stream[:2000]), iotest.ErrReader(boom)), base, Limits{Base: baseOf(base)}); !errors.Is(err, boom) {
		t.Fatalf("error %v, want that of the reader", err)
	}
	boom = fmt.Errorf("link lost: %w", io.EOF)
	if _, _, err := apply(io.MultiReader(bytes.NewReader(stream[:2000]), iotest.ErrReader(boom)), base, Limits{Base: baseOf(base)}); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("error %v of the reader passes for the end", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	mem := make([]byte, wasmPage)
	for _, tc := range []struct {
		name  string
		h     Header
		pages []uint32
	}{
		{"descending", Header{MemoryBytes: wasmPage, Pages: 2}, []uint32{2, 1}},
		{"twice", Header{MemoryBytes: wasmPage, Pages: 2}, []uint32{2, 2}},
		{"beyond", Header{MemoryBytes: wasmPage, Pages: 1}, []uint32{16}},
		{"fewer", Header{MemoryBytes: wasmPage, Pages: 2}, []uint32{1}},
		{"more", Header{MemoryBytes: wasmPage, Pages: 1}, []uint32{1, 2}},
		{"size", Header{MemoryBytes: 2 * wasmPage}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, err := Encode(io.Discard, tc.h, mem, slices.Values(tc.pages), Options{}); err == nil {
				t.Fatal("no error")
			}
		})
	}
	if _, _, err := Encode(failWriter{}, Header{MemoryBytes: wasmPage}, mem, slices.Values([]uint32{}), Options{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("error %v, want that of the writer", err)
	}
}

type failWriter struct{}

func (failWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestNextID(t *testing.T) {
	a := NextID(ID{}, []byte("a"), []byte("bc"))
	seen := map[ID]bool{a: true}
	for _, id := range []ID{NextID(ID{1}, []byte("a"), []byte("bc")), NextID(ID{}, []byte("ab"), []byte("c")), NextID(ID{}, []byte("abc")),
		NextID(ID{}, []byte("a"), []byte("bc"), nil), NextID(ID{})} {
		if seen[id] {
			t.Fatalf("id %v twice", id)
		}
		seen[id] = true
	}
	if a != NextID(ID{}, []byte("a"), []byte("bc")) || a.IsZero() || !(ID{}).IsZero() || len(a.String()) != 8 {
		t.Fatal("id not stable")
	}
}

func FuzzDecode(f *testing.F) {
	stream, base, _, _ := sample(f)
	f.Add(stream[:headerSize])
	// Small streams, so that mutations meet what matters.
	base = base[:wasmPage]
	mem := slices.Clone(base)
	mem[5*PageSize+7], mem[9*PageSize], mem[9*PageSize+900] = 99, 98, 97
	clear(mem[6*PageSize : 8*PageSize])
	for _, opt := range []Options{{Compress: true}, {Compress: true, Base: baseOf(base)}} {
		var buf bytes.Buffer
		if _, _, err := Encode(&buf, Header{MemoryBytes: wasmPage, Pages: 5}, mem, slices.Values([]uint32{1, 5, 6, 7, 9}), opt); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	h := Header{MemoryBytes: wasmPage}
	f.Add(h.appendTo([]byte(magic)))
	f.Fuzz(func(t *testing.T, in []byte) {
		mem, d, err := apply(bytes.NewReader(in), base, Limits{MaxMemory: 2 * wasmPage, Base: baseOf(base)})
		if err != nil {
			return
		}
		// What is taken says the same in every encoding.
		var pages []uint32
		d2, _ := NewDecoder(bytes.NewReader(in), Limits{Base: baseOf(base)})
		for {
			p, _, err := d2.Next()
			if err != nil {
				break
			}
			pages = append(pages, p)
		}
		_, sum, err := Encode(io.Discard, d.Header(), mem, slices.Values(pages), Options{Compress: true, Base: baseOf(base)})
		if err != nil || sum != d.Digest() {
			t.Fatalf("encoded again: digest %x, %v; want %x", sum, err, d.Digest())
		}
	})
}

func FuzzDiff(f *testing.F) {
	f.Add([]byte{0, 1, 'x'})
	f.Add([]byte{0xff, 0x1f, 1, 'x'})
	f.Fuzz(func(t *testing.T, diff []byte) {
		base := bytes.Repeat([]byte{5}, PageSize)
		page := slices.Clone(base)
		if applyDiff(page, diff) != nil {
			return
		}
		again, ok := appendDiff(nil, base, page, 2*PageSize)
		if !ok {
			t.Fatal("difference does not fit")
		}
		got := slices.Clone(base)
		if err := applyDiff(got, again); err != nil || !bytes.Equal(got, page) {
			t.Fatalf("difference does not lead to the page: %v", err)
		}
	})
}
