package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// seedFile is something in a directory before a run.
type seedFile struct {
	path   string // slash-separated
	kind   byte   // 'd' directory, 'f' file, 'l' symbolic link, 'h' other name of a file
	size   int
	target string
	old    bool // its time is one of the last century
}

// seedTree is what directories hold before a run: enough of each kind of thing that names meet often.
func seedTree(mount int) []seedFile {
	list := []seedFile{
		{path: "d", kind: 'd'}, {path: "d/e", kind: 'd'}, {path: "empty", kind: 'd', old: true}, {path: "d/e/deep", kind: 'd'},
		{path: "a", kind: 'f', size: 100, old: true}, {path: "b", kind: 'f'}, {path: "d/a", kind: 'f', size: 5000}, {path: "d/big", kind: 'f', size: 3<<20 + 17},
		{path: "d/e/a", kind: 'f', size: 70_000, old: true}, {path: "with blank", kind: 'f', size: 12}, {path: "d/größe", kind: 'f', size: 4096},
		{path: "日本", kind: 'd'}, {path: "日本/語", kind: 'f', size: 1},
		{path: "h", kind: 'h', target: "a"}, {path: "d/h", kind: 'h', target: "d/e/a"},
		{path: "l", kind: 'l', target: "a"}, {path: "d/l", kind: 'l', target: "../b"}, {path: "ld", kind: 'l', target: "d/e"},
		{path: "dangling", kind: 'l', target: "nowhere"}, {path: "out", kind: 'l', target: "../../etc"}, {path: "abs", kind: 'l', target: "/etc/passwd"},
		{path: "loop", kind: 'l', target: "loop"}, {path: strings.Repeat("n", 200), kind: 'f', size: 9},
	}
	if runtime.GOOS == "linux" {
		list = append(list, seedFile{path: "d/\xff\xfe", kind: 'f', size: 33}, seedFile{path: "A", kind: 'f', size: 7})
	}
	if mount > 0 {
		return list[:13] // a smaller one, with the same names
	}
	return list
}

// plant makes what list says below dir.
func plant(dir string, list []seedFile) error {
	old := time.Unix(900_000_000, 123456000)
	for i, f := range list {
		at := filepath.Join(dir, filepath.FromSlash(f.path))
		var err error
		switch f.kind {
		case 'd':
			err = os.Mkdir(at, 0o755)
		case 'f':
			err = os.WriteFile(at, filling(f.size, uint64(i)), 0o644)
		case 'l':
			err = os.Symlink(f.target, at)
		case 'h':
			err = os.Link(filepath.Join(dir, filepath.FromSlash(f.target)), at)
		}
		if err == nil && f.old {
			err = os.Chtimes(at, old, old)
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", at, err)
		}
	}
	return nil
}

// filling is what the guest's fill gives.
func filling(n int, seed uint64) []byte {
	b := make([]byte, n+7)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := 0; i < n; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:min(i+8, len(b))][:8:8], x)
	}
	return b[:n]
}

// guestName is a name as a script has it.
func guestName(s string) string { return "-" + hex.EncodeToString([]byte(s)) }

// filesCase is a run of testdata/files.c over two directories below dir.
func filesCase(bin []byte, dir, script string) Case {
	return Case{Name: "files", Module: bin, Args: []string{"files"}, Stdin: []byte(script), Mounts: []Mount{
		{Host: filepath.Join(dir, "a"), Guest: "/a"}, {Host: filepath.Join(dir, "b"), Guest: "/b"},
	}}
}

// plantBoth makes the two directories.
func plantBoth(dir string) error {
	for i, name := range []string{"a", "b"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if err := plant(at, seedTree(i)); err != nil {
			return err
		}
	}
	return nil
}

// scriptOf draws a script.
func scriptOf(t *rapid.T, most int) string {
	var b bytes.Buffer
	depth := 0
	for range rapid.IntRange(1, most).Draw(t, "operations") {
		switch rapid.IntRange(0, 9).Draw(t, "border") {
		case 0, 1:
			b.WriteString("{\n")
			depth++
		case 2:
			if depth > 0 {
				b.WriteString("}\n")
				depth--
			}
		}
		b.WriteString(operationOf(t))
		b.WriteByte('\n')
	}
	b.WriteString(strings.Repeat("}\n", depth))
	for i := range 2 { // what is left is looked at
		fmt.Fprintf(&b, "d %d 0 4000\n", i)
	}
	switch rapid.IntRange(0, 19).Draw(t, "end") {
	case 0:
		b.WriteString("X\n")
	case 1, 2:
		b.WriteString("q 7\n")
	}
	return b.String()
}

var (
	scriptDirs = []string{"", "", "", "d/", "d/", "d/e/", "empty/", "日本/", "new/", "ld/", "d/../", "./", "../"}
	scriptLast = []string{
		"a", "a", "b", "b", "c", "h", "l", "d", "e", "big", "with blank", "größe", "語", "new", "empty", "dangling", "loop", "x", "y", "deep", "ld",
		"out", "abs", "bad\xff", strings.Repeat("n", 200), strings.Repeat("m", 255), strings.Repeat("m", 256), "a/", "d/", "", ".",
	}
)

func init() {
	if runtime.GOOS == "linux" { // elsewhere it may be another name of a
		scriptLast = append(scriptLast, "A")
	}
}

// operationOf draws an operation.
func operationOf(t *rapid.T) string {
	pick := func(label string, list []string) string { return rapid.SampledFrom(list).Draw(t, label) }
	name := func() string { return guestName(pick("dir", scriptDirs) + pick("name", scriptLast)) }
	n := func(most int) int { return rapid.IntRange(0, most).Draw(t, "n") }
	base := func() int { // mostly a mount
		if n(9) == 0 {
			return 2 + n(5)
		}
		return n(4) / 3
	}
	open := func() int { return 2 + n(5) }
	size := func() int {
		return rapid.SampledFrom([]int{0, 1, 17, 100, 4096, 5000, 66_000, 300_000}).Draw(t, "size")
	}
	off := func() int {
		return rapid.SampledFrom([]int{0, 0, 1, 50, 4095, 4096, 65_536, 200_000, 3 << 20, 5 << 20}).Draw(t, "offset")
	}
	when := func() int { return rapid.IntRange(1, 900_000_000).Draw(t, "time") * 1000 }
	switch op := rapid.SampledFrom([]byte("oooooowwwwWWWrrrrRRRkzzaattTsSSSddmmmxuuunnnnnllyyLLcccf!")).Draw(t, "operation"); op {
	case 'o':
		how := rapid.SampledFrom([]int{0, 0, 0, 1, 1, 1, 2, 5, 8, 9}).Draw(t, "how")
		return fmt.Sprintf("o %d %d %s %d %d %d %d", open(), base(), name(), n(1), how, rapid.SampledFrom([]int{1, 2, 3, 3, 3}).Draw(t, "rights"), n(5)/5)
	case 'w':
		return fmt.Sprintf("w %d %d %d %d", open(), off(), size(), n(999))
	case 'W':
		return fmt.Sprintf("W %d %d %d", open(), size(), n(999))
	case 'r':
		return fmt.Sprintf("r %d %d %d", open(), off(), size())
	case 'R':
		return fmt.Sprintf("R %d %d", open(), size())
	case 'k':
		return fmt.Sprintf("k %d %d %d %d", open(), off(), n(1), n(3))
	case 'z':
		return fmt.Sprintf("z %d %d", open(), off())
	case 'a':
		return fmt.Sprintf("a %d %d %d", open(), off(), size())
	case 't':
		return fmt.Sprintf("t %d %d %d %d", n(7), when(), when(), rapid.SampledFrom([]int{1, 4, 5, 6, 9, 10, 15}).Draw(t, "how"))
	case 'T':
		return fmt.Sprintf("T %d %s %d %d %d %d", base(), name(), n(1), when(), when(), rapid.SampledFrom([]int{1, 4, 5, 6, 9, 10}).Draw(t, "how"))
	case 's':
		return fmt.Sprintf("s %d", n(7))
	case 'S':
		return fmt.Sprintf("S %d %s %d", base(), name(), n(1))
	case 'd':
		return fmt.Sprintf("d %d %d %d", n(7), n(3)/3, n(4000))
	case 'm', 'x', 'u', 'L':
		return fmt.Sprintf("%c %d %s", op, base(), name())
	case 'n':
		return fmt.Sprintf("n %d %s %d %s", base(), name(), base(), name())
	case 'l':
		return fmt.Sprintf("l %d %s %d %d %s", base(), name(), n(4)/4, base(), name())
	case 'y':
		return fmt.Sprintf("y %s %d %s", name(), base(), name())
	case 'c', 'f':
		return fmt.Sprintf("%c %d", op, open())
	}
	return "!"
}

// needsLinux skips where files are not as a clone sees them: which of several faults an operation ends with, what can be done to what is
// open, which names are one.
func needsLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("a clone sees files as Linux has them")
	}
}

// attributes are of the files below dir what an Outcome does not have: permissions, which names are of one file, and times that
// were set.
func attributes(dir string) (map[string]string, error) {
	all := map[string]string{}
	type seen struct {
		info fs.FileInfo
		path string
	}
	type alike struct {
		size  int64
		mtime time.Time
	}
	files := map[alike][]seen{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		text := fi.Mode().String()
		if mtime := fi.ModTime(); mtime.Before(time.Unix(1_000_000_000, 0)) {
			text += fmt.Sprintf(" of %d", mtime.UnixNano())
		}
		if !fi.IsDir() {
			key := alike{fi.Size(), fi.ModTime()}
			i := slices.IndexFunc(files[key], func(s seen) bool { return os.SameFile(s.info, fi) })
			if i >= 0 {
				text += fmt.Sprintf(", as %q", files[key][i].path)
			} else {
				files[key] = append(files[key], seen{fi, rel})
			}
		}
		all[rel] = text
		return nil
	})
	return all, err
}

// diffAttributes says how got differs from want.
func diffAttributes(want, got map[string]string) string {
	var d []string
	for p, a := range want {
		if got[p] != a {
			d = append(d, fmt.Sprintf("%q: %s, want %s", p, got[p], a))
		}
	}
	slices.Sort(d)
	return strings.Join(d, "\n")
}

// drawFilesWay draws what of a run moves.
func drawFilesWay(rng *rand.Rand, seed uint64) Way {
	w := Way{Device: Compiler, Clone: Compiler, Canonical: true, Files: true, Seed: seed, First: 1 + rng.IntN(6), Sample: 0.05}
	switch rng.IntN(5) {
	case 0: // as a whole
	case 1:
		w.Deep = true
	default:
		w.Deep, w.All, w.Skip, w.Depth = rng.IntN(2) == 0, true, float64(rng.IntN(3))*0.4, rng.IntN(5)
	}
	return drawEngines(w)
}

// TestFilling sees that guest and tests agree on what a number fills a file with.
func TestFilling(t *testing.T) {
	needsLinux(t) // of the directories, not of the guest
	dir := t.TempDir()
	if err := plantBoth(dir); err != nil {
		t.Fatal(err)
	}
	o, err := newLab(t).Run(t.Context(), filesCase(filesGuest(t), dir, "o 2 0 -78 0 1 3 0\nW 2 1003 77\n"), Way{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "a", "x"))
	if want := filling(1003, 77); err != nil || !bytes.Equal(got, want) {
		t.Errorf("guest wrote %d bytes (%v), not those expected: %s", len(got), err, o.Stdout)
	}
}

func filesGuest(t testing.TB) []byte {
	t.Helper()
	bin, err := os.ReadFile(filepath.Join("testdata", "files.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
