package examples

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// generateHistory makes a tree of categories, each with words of its own, and a history whose visits are mostly about one category.
func generateHistory(dir string, size Size, seed uint64) ([]string, error) {
	r := rand.New(rand.NewPCG(seed, 2))
	branches := [][]int{{7, 6, 5}, {7, 6, 5, 4}, {7, 6, 5, 4, 3}}[size]
	visits := []int{2000, 2700, 7000}[size]
	names := newNames(r)

	var leaves []category
	var tree bytes.Buffer
	var grow func(path []string, words []string, depth int)
	grow = func(path []string, words []string, depth int) {
		own := make([]string, 9)
		for i := range own {
			own[i] = names.next()
		}
		words = append(words[:len(words):len(words)], own...)
		fmt.Fprintf(&tree, "%s\t", strings.Join(path, "/"))
		for _, w := range own {
			fmt.Fprintf(&tree, "%s:%d ", w, 1+r.IntN(9))
		}
		fmt.Fprintf(&tree, "%s:1 %s:1\n", names.common(r), names.common(r))
		if depth == len(branches) {
			leaves = append(leaves, category{path, words})
			return
		}
		for range branches[depth] {
			grow(append(path[:len(path):len(path)], names.next()), words, depth+1)
		}
	}
	for range branches[0] {
		grow([]string{names.next()}, nil, 1)
	}
	if err := write(dir, "categories.txt", tree.Bytes()); err != nil {
		return nil, err
	}

	favourite := leaves[r.IntN(len(leaves))]
	var history bytes.Buffer
	for i := range visits {
		about := leaves[r.IntN(len(leaves))]
		if i%4 == 0 {
			about = favourite
		}
		fmt.Fprintf(&history, "%d.%d\t", (visits-i)*90/visits, r.IntN(10))
		for range 12 + r.IntN(24) {
			w := names.common(r)
			if r.IntN(3) > 0 {
				w = about.words[r.IntN(len(about.words))]
			}
			history.WriteString(w)
			history.WriteByte(' ')
		}
		history.WriteByte('\n')
	}
	if err := write(dir, "history.txt", history.Bytes()); err != nil {
		return nil, err
	}
	var expected []string
	for depth := 1; depth <= len(branches); depth++ {
		expected = append(expected, fmt.Sprintf("depth %d: 1. %s (", depth, strings.Join(favourite.path[:depth], "/")))
	}
	return append(expected, fmt.Sprintf("%d visits, ", visits)), nil
}

// category is a leaf of the tree with the words of the whole path to it.
type category struct {
	path, words []string
}

// names makes up words that differ from each other.
type names struct {
	seen     map[string]bool
	r        *rand.Rand
	everyday []string
}

func newNames(r *rand.Rand) *names {
	n := &names{seen: map[string]bool{}, r: r}
	for range 400 {
		n.everyday = append(n.everyday, n.next())
	}
	return n
}

func (n *names) next() string {
	for {
		var b strings.Builder
		for range 2 + n.r.IntN(3) {
			b.WriteByte("bcdfghjklmnprstvwz"[n.r.IntN(18)])
			b.WriteByte("aeiou"[n.r.IntN(5)])
		}
		if w := b.String(); !n.seen[w] {
			n.seen[w] = true
			return w
		}
	}
}

// common returns a word that is on pages of every kind.
func (n *names) common(r *rand.Rand) string { return n.everyday[r.IntN(r.IntN(len(n.everyday))+1)] }
