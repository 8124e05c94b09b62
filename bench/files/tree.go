package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// treeSpec says what a tree of files is like: sizes are spread log-normally, as they are on people's disks, and each
// second file is like text, each other one like a program; either compresses to about half.
type treeSpec struct {
	files int
	bytes int64 // in all, about
	seed  uint64
}

const (
	perDir = 100 // files in a directory
	// Half of the files are below medianSize if the mean is meanSize.
	medianSize, meanSize = 30e3, 100e3
	largestSize          = 8 << 20
)

// path of a file, below the tree's top.
func (s treeSpec) path(i int) string {
	ext := ".txt"
	if i%2 == 1 {
		ext = ".bin"
	}
	d := i / perDir
	return filepath.FromSlash(fmt.Sprintf("part-%02d/folder-%03d/file-%05d%s", d/10, d, i, ext))
}

// sizes of the files.
func (s treeSpec) sizes() []int {
	r := rand.New(rand.NewPCG(s.seed, 0x512e))
	sigma := math.Sqrt(2 * math.Log(meanSize/medianSize))
	raw := make([]float64, s.files)
	sum := 0.0
	for i := range raw {
		raw[i] = math.Exp(sigma * r.NormFloat64())
		sum += raw[i]
	}
	sizes := make([]int, s.files)
	for i, v := range raw {
		sizes[i] = min(int(v/sum*float64(s.bytes)), largestSize)
	}
	return sizes
}

// generate makes the tree in dir, and returns the bytes of its files.
func (s treeSpec) generate(ctx context.Context, dir string) (int64, error) {
	sizes := s.sizes()
	for d := range (s.files + perDir - 1) / perDir {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, s.path(d*perDir))), 0o755); err != nil {
			return 0, err
		}
	}
	voc := newVocabulary(s.seed)
	var at, total atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	for w := range errs {
		all.Go(func() {
			var buf []byte
			for i := int(at.Add(1)) - 1; i < s.files && ctx.Err() == nil; i = int(at.Add(1)) - 1 {
				buf = voc.contents(buf[:0], i, sizes[i])
				if errs[w] = os.WriteFile(filepath.Join(dir, s.path(i)), buf, 0o644); errs[w] != nil {
					return
				}
				total.Add(int64(len(buf)))
			}
		})
	}
	all.Wait()
	return total.Load(), errors.Join(append(errs, ctx.Err())...)
}

// vocabulary is what contents are made of. Safe for concurrent use.
//
// Files repeat themselves in runs of some ten bytes, within a file and from one to another, and have in between what is
// their own. So do these, and a quick compressor loses to a thorough one no more than on source code and programs, some 5 %.
type vocabulary struct {
	seed    uint64
	phrases [][]byte // for text
	idioms  [][]byte // for programs
}

func newVocabulary(seed uint64) *vocabulary {
	r := rand.New(rand.NewPCG(seed, 0x70c))
	v := &vocabulary{seed: seed, phrases: make([][]byte, 1<<10), idioms: make([][]byte, 1<<10)}
	for i := range v.phrases {
		var b []byte
		for range 2 + r.IntN(4) {
			for range 2 + r.IntN(3) {
				b = append(b, "bcdfghjklmnprstvwz"[r.IntN(18)], "aeiou"[r.IntN(5)])
			}
			b = append(b, ' ')
		}
		v.phrases[i] = b
	}
	for i := range v.idioms {
		b := make([]byte, 6+r.IntN(18))
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		v.idioms[i] = b
	}
	return v
}

// contents appends those of the i-th file to b. They follow from seed, i and size.
func (v *vocabulary) contents(b []byte, i, size int) []byte {
	r := rand.New(rand.NewPCG(v.seed, uint64(i)+1<<32))
	from := v.phrases
	if i%2 == 1 {
		from = v.idioms
	}
	var own [32][]byte // what this file is about
	for k := range own {
		own[k] = from[r.IntN(len(from))]
	}
	for len(b) < size {
		x := r.Uint64()
		run := own[x%uint64(len(own))]
		if x>>8&3 == 0 {
			run = from[x>>16%uint64(len(from))]
		}
		b = append(b, run...)
		if i%2 == 0 {
			b = fmt.Appendf(b, "%016x%08x, ", r.Uint64(), r.Uint32())
		} else {
			b = binary.LittleEndian.AppendUint64(b, r.Uint64()>>8)
		}
	}
	return b[:size]
}

// change makes one file another: some bytes in the midst of it, and its length.
func change(path string, round int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	note := fmt.Appendf(nil, "changed in round %d", round)
	at := len(b) / 2
	b = bytes.Join([][]byte{b[:at], note, b[at:]}, nil)
	return os.WriteFile(path, b, 0o644)
}
