package main

import (
	"math"
	"sort"
	"strings"
)

// words counts those of a made-up text, and sorts them: maps, strings, interfaces.
func words(size int) uint64 {
	seed, sum := uint32(71), uint64(0)
	for range size {
		var b strings.Builder
		for range 30000 {
			for range 2 + next(&seed)%3 {
				b.WriteByte(byte('a' + next(&seed)%12))
			}
			b.WriteByte(' ')
		}
		counts := map[string]int{}
		for _, w := range strings.Fields(b.String()) {
			counts[w]++
		}
		list := make([]string, 0, len(counts))
		for w := range counts {
			list = append(list, w)
		}
		sort.Slice(list, func(i, j int) bool {
			if counts[list[i]] != counts[list[j]] {
				return counts[list[i]] > counts[list[j]]
			}
			return list[i] < list[j]
		})
		for _, w := range list[:min(len(list), 1000)] {
			sum = sum*31 + uint64(counts[w])
			for _, c := range []byte(w) {
				sum = sum*33 + uint64(c)
			}
		}
	}
	return sum
}

type node struct{ left, right *node }

func grow(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{grow(depth - 1), grow(depth - 1)}
}

func (n *node) count() uint64 {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

// trees makes garbage.
func trees(size int) uint64 {
	keep, sum := grow(14), uint64(0)
	for i := range size {
		sum = sum*31 + grow(8+i%6).count()
	}
	return sum + keep.count()
}

// matrix multiplies: floating point, and bounds that are checked.
func matrix(size int) uint64 {
	const side = 128
	seed := uint32(73)
	a, b, c := make([][]float64, side), make([][]float64, side), make([][]float64, side)
	for i := range side {
		a[i], b[i], c[i] = make([]float64, side), make([]float64, side), make([]float64, side)
		for j := range side {
			a[i][j], b[i][j] = float64(next(&seed)%16), float64(next(&seed)%16)
		}
	}
	sum := uint64(0)
	for n := range size {
		for i := range side {
			for j := range side {
				dot := 0.0
				for k := range side {
					dot += a[i][k] * b[k][j]
				}
				c[i][j] = dot
			}
		}
		a[n%side][n/side%side] = math.Mod(c[n%side][0], 16)
		sum = sum*31 + uint64(c[side/2][n%side])
	}
	return sum
}

// life plays on a torus: bytes, indices, branches.
func life(size int) uint64 {
	const side = 256
	seed := uint32(79)
	field, other := make([]byte, side*side), make([]byte, side*side)
	for i := range field {
		field[i] = byte(next(&seed) >> 16 & 1)
	}
	for range size {
		for y := range side {
			up, down := (y+side-1)%side*side, (y+1)%side*side
			for x := range side {
				l, r := (x+side-1)%side, (x+1)%side
				n := field[up+l] + field[up+x] + field[up+r] + field[y*side+l] + field[y*side+r] + field[down+l] + field[down+x] + field[down+r]
				alive := byte(0)
				if n == 3 || n == 2 && field[y*side+x] == 1 {
					alive = 1
				}
				other[y*side+x] = alive
			}
		}
		field, other = other, field
	}
	sum := uint64(0)
	for _, c := range field {
		sum = sum*31 + uint64(c)
	}
	return sum
}
