package corpus

import (
	"bytes"
	"embed"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxInput bounds what one input may take, so that a slip in a manifest is found before the memory is gone.
const maxInput = 64 << 20

//go:embed testdata
var scripts embed.FS

// makers build the inputs by kind. Each gets the number behind the colon and a generator that depends on nothing but the whole name.
var makers = map[string]func(size int, r *rand.Rand) []byte{
	"text":     text,
	"log":      logLines,
	"noise":    noise,
	"runs":     runs,
	"markdown": markdown,
	"xml":      xml,
	"photo":    photo,
	"cnf":      cnf,
	"plainxml": plainXML,
	"js":       javascript,
	"shell":    shell,
	"json":     records,
}

// Input returns the bytes of an input: "KIND:SIZE" for one that is made up (text, log, noise, runs, markdown and xml of SIZE bytes; plainxml, js, shell
// and json of about that; photo, a picture of SIZE x SIZE pixels; cnf, a formula of SIZE variables), "script:NAME" for a file of this package's testdata, "built:NAME" for
// a file that build.sh left in the directory built.
func Input(built, name string) ([]byte, error) {
	kind, arg, _ := strings.Cut(name, ":")
	switch {
	case kind == "script":
		return scripts.ReadFile("testdata/" + arg)
	case kind == "built" && filepath.IsLocal(arg):
		return os.ReadFile(filepath.Join(built, arg))
	case !validInput(name):
		return nil, fmt.Errorf("no input %q", name)
	}
	size, _ := strconv.Atoi(arg)
	h := fnv.New64a()
	h.Write([]byte(name))
	return makers[kind](size, rand.New(rand.NewPCG(h.Sum64(), 1))), nil
}

func validInput(name string) bool {
	kind, arg, _ := strings.Cut(name, ":")
	switch kind {
	case "script":
		_, err := scripts.ReadFile("testdata/" + arg)
		return err == nil
	case "built":
		return filepath.IsLocal(arg)
	}
	size, err := strconv.Atoi(arg)
	return err == nil && size >= 0 && size <= maxInput && makers[kind] != nil
}

// vocabulary returns made-up words, longer ones towards the end.
func vocabulary(n int, r *rand.Rand) []string {
	syllables := strings.Fields("a an be co da de di en er fa fe ga go ha he in is ka ko la le li lo ma me mi mo na ne no on or pa pe po ra re ri ro sa se " +
		"so sta ta te ti to tri u ul va ve vi wa we wo ya zu")
	words := make([]string, n)
	for i := range words {
		var b strings.Builder
		for range 1 + r.IntN(2) + i*3/n {
			b.WriteString(syllables[r.IntN(len(syllables))])
		}
		words[i] = b.String()
	}
	return words
}

// pick prefers the first words about as prose does. Integers alone: floating point would differ between instruction sets.
func pick(words []string, r *rand.Rand) string {
	return words[r.IntN(r.IntN(r.IntN(len(words))+1)+1)]
}

func text(size int, r *rand.Rand) []byte {
	words := vocabulary(4000, r)
	var b bytes.Buffer
	column := 0
	for b.Len() < size {
		w := pick(words, r)
		if column += len(w) + 1; column > 78 {
			b.WriteByte('\n')
			column = len(w) + 1
		}
		b.WriteString(w)
		if r.IntN(9) == 0 {
			b.WriteString(",."[r.IntN(2):][:1])
		}
		b.WriteByte(' ')
	}
	return b.Bytes()[:size]
}

func logLines(size int, r *rand.Rand) []byte {
	words := vocabulary(300, r)
	var b bytes.Buffer
	second := 0
	for b.Len() < size {
		second += r.IntN(4)
		fmt.Fprintf(&b, "2024-03-01T%02d:%02d:%02dZ host%02d %s[%d]: %s from 10.%d.%d.%d status=%d bytes=%d\n",
			second/3600%24, second/60%60, second%60, r.IntN(12), pick(words, r), 100+r.IntN(900), pick(words, r),
			r.IntN(4), r.IntN(256), r.IntN(256), 200+r.IntN(5)*100, r.IntN(1<<r.IntN(20)+1))
	}
	return b.Bytes()[:size]
}

func noise(size int, r *rand.Rand) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// runs is what compressors like best and sort worst: long repetitions.
func runs(size int, r *rand.Rand) []byte {
	b := make([]byte, 0, size)
	for len(b) < size {
		piece := bytes.Repeat([]byte{byte('a' + r.IntN(3))}, 1+r.IntN(7))
		b = append(b, bytes.Repeat(piece, 1+r.IntN(300))...)
	}
	return b[:size]
}

func markdown(size int, r *rand.Rand) []byte {
	words := vocabulary(2000, r)
	sentence := func(n int) string {
		var b strings.Builder
		for i := range n {
			w := pick(words, r)
			switch r.IntN(14) {
			case 0:
				w = "*" + w + "*"
			case 1:
				w = "**" + w + "**"
			case 2:
				w = "`" + w + "`"
			case 3:
				w = "[" + w + "](https://example.org/" + w + " \"" + w + "\")"
			case 4:
				w = "[" + w + "][ref" + strconv.Itoa(r.IntN(40)) + "]"
			case 5:
				w = "&amp;" + w + "<em>"
			}
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(w)
		}
		return b.String()
	}
	var b bytes.Buffer
	for b.Len() < size {
		switch r.IntN(7) {
		case 0:
			fmt.Fprintf(&b, "%s %s\n\n", strings.Repeat("#", 1+r.IntN(4)), sentence(4))
		case 1:
			for depth := range 1 + r.IntN(4) {
				fmt.Fprintf(&b, "%s- %s\n", strings.Repeat("  ", depth), sentence(8))
			}
			b.WriteByte('\n')
		case 2:
			fmt.Fprintf(&b, "```\n%s\n```\n\n", sentence(12))
		case 3:
			fmt.Fprintf(&b, "> %s\n> > %s\n\n", sentence(10), sentence(6))
		default:
			fmt.Fprintf(&b, "%s.\n%s\n\n", sentence(14), sentence(10))
		}
	}
	for i := range 40 {
		fmt.Fprintf(&b, "\n[ref%d]: https://example.org/%d\n", i, i)
	}
	return b.Bytes()
}

// xml is at least size bytes long: a document that is cut off is not well-formed.
func xml(size int, r *rand.Rand) []byte {
	words := vocabulary(500, r)
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!DOCTYPE library [<!ENTITY mark \"&#x2020;\">]>\n<library>\n")
	for id := 0; b.Len() < size; id++ {
		fmt.Fprintf(&b, "<book id=\"b%d\" year='%d' lang=\"%s\">\n", id, 1500+r.IntN(500), pick(words, r))
		fmt.Fprintf(&b, "  <title>%s &amp; %s&mark;</title>\n", pick(words, r), pick(words, r))
		for range r.IntN(6) {
			fmt.Fprintf(&b, "  <note xmlns:n%d=\"urn:%s\"><n%d:p>%s \u00e9\u4e2d</n%d:p><![CDATA[<%s>]]></note><!-- %s -->\n", id%7, pick(words, r), id%7,
				pick(words, r), id%7, pick(words, r), pick(words, r))
		}
		b.WriteString("</book>\n")
	}
	b.WriteString("</library>\n")
	return b.Bytes()
}

// photo is a binary PPM: soft shapes of three sizes under a little grain.
func photo(size int, r *rand.Rand) []byte {
	b := fmt.Appendf(nil, "P6\n%d %d\n255\n", size, size)
	grids := [3]grid{newGrid(4, r), newGrid(11, r), newGrid(37, r)}
	for y := range size {
		for x := range size {
			for c := range 3 {
				v := 4*grids[0].at(x, y, size, c) + 2*grids[1].at(x, y, size, c) + grids[2].at(x, y, size, c)
				b = append(b, byte(v/7+r.IntN(6)))
			}
		}
	}
	return b
}

// grid is a coarse picture of n x n random cells in three colours.
type grid struct {
	n     int
	cells []int
}

func newGrid(n int, r *rand.Rand) grid {
	g := grid{n, make([]int, (n+1)*(n+1)*3)}
	for i := range g.cells {
		g.cells[i] = r.IntN(250)
	}
	return g
}

// at enlarges the grid to size x size pixels by linear interpolation.
func (g grid) at(x, y, size, colour int) int {
	i, j, u, v := x*g.n/size, y*g.n/size, x*g.n%size, y*g.n%size
	cell := func(i, j int) int { return g.cells[(j*(g.n+1)+i)*3+colour] }
	top := cell(i, j)*(size-u) + cell(i+1, j)*u
	bottom := cell(i, j+1)*(size-u) + cell(i+1, j+1)*u
	return (top*(size-v) + bottom*v) / (size * size)
}

// cnf is a random formula of three literals to a clause in DIMACS form, at the ratio where such formulas are hardest.
func cnf(vars int, r *rand.Rand) []byte {
	clauses := vars * 426 / 100
	var b bytes.Buffer
	fmt.Fprintf(&b, "p cnf %d %d\n", vars, clauses)
	for range clauses {
		used := map[int]bool{}
		for len(used) < min(3, vars) {
			v := 1 + r.IntN(vars)
			if used[v] {
				continue
			}
			used[v] = true
			fmt.Fprintf(&b, "%d ", v*(1-2*r.IntN(2)))
		}
		b.WriteString("0\n")
	}
	return b.Bytes()
}
