package delta

import (
	"bytes"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
)

const benchMemory = 64 << 20

// benchCase is a memory of which one page in eight is dirty.
type benchCase struct {
	base, mem []byte
	pages     []uint32
}

func newBench(kind int) *benchCase {
	r := rand.New(rand.NewPCG(3, 4))
	c := &benchCase{base: make([]byte, benchMemory), mem: make([]byte, benchMemory)}
	for p := range benchMemory / PageSize {
		fill(r, 2, c.base[p*PageSize:][:PageSize], nil)
	}
	copy(c.mem, c.base)
	for p := range benchMemory / PageSize {
		if r.IntN(8) == 0 {
			page := c.mem[p*PageSize:][:PageSize]
			fill(r, kind, page, slices.Clone(page))
			c.pages = append(c.pages, uint32(p))
		}
	}
	return c
}

func (c *benchCase) seq() iter.Seq[uint32] { return slices.Values(c.pages) }

var benchKinds = []struct {
	name string
	kind int
	opt  func(c *benchCase) Options
}{
	{"zero", 0, func(*benchCase) Options { return Options{} }},
	{"whole", 1, func(*benchCase) Options { return Options{} }},
	{"s2-random", 1, func(*benchCase) Options { return Options{Compress: true} }},
	{"s2-packs", 2, func(*benchCase) Options { return Options{Compress: true} }},
	{"diff", 3, func(c *benchCase) Options { return Options{Compress: true, Base: baseOf(c.base)} }},
}

func BenchmarkCopy(b *testing.B) {
	c := newBench(1)
	dst := make([]byte, len(c.pages)*PageSize)
	b.SetBytes(int64(len(dst)))
	for b.Loop() {
		for i, p := range c.pages {
			copy(dst[i*PageSize:], c.mem[int(p)*PageSize:][:PageSize])
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, k := range benchKinds {
		b.Run(k.name, func(b *testing.B) {
			c := newBench(k.kind)
			h := Header{MemoryBytes: benchMemory, Pages: uint32(len(c.pages))}
			b.SetBytes(int64(len(c.pages) * PageSize))
			b.ReportAllocs()
			var s Stats
			for b.Loop() {
				var err error
				if s, _, err = Encode(io.Discard, h, c.mem, c.seq(), k.opt(c)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.Bytes)/float64(len(c.pages)*PageSize), "sent/page")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, k := range benchKinds {
		b.Run(k.name, func(b *testing.B) {
			c := newBench(k.kind)
			h := Header{MemoryBytes: benchMemory, Pages: uint32(len(c.pages))}
			var buf bytes.Buffer
			if _, _, err := Encode(&buf, h, c.mem, c.seq(), k.opt(c)); err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, benchMemory)
			b.SetBytes(int64(len(c.pages) * PageSize))
			b.ReportAllocs()
			for b.Loop() {
				d, err := NewDecoder(bytes.NewReader(buf.Bytes()), Limits{Base: baseOf(c.base)})
				for err == nil {
					var p uint32
					var data []byte
					if p, data, err = d.Next(); err == nil {
						copy(dst[int(p)*PageSize:], data)
					}
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
