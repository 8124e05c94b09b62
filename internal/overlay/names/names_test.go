package names

import (
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

func TestParse(t *testing.T) {
	for path, want := range map[string]Name{
		"a":           {Path: "a", Dir: ".", Base: "a"},
		"a/":          {Path: "a", Dir: ".", Base: "a", Slash: true},
		"a//b/./c":    {Path: "a/b/c", Dir: "a/b", Base: "c"},
		".":           {Path: ".", Dir: ".", Base: ".", Slash: true, Dot: true},
		"./.":         {Path: ".", Dir: ".", Base: ".", Slash: true, Dot: true},
		"..":          {Path: "..", Dir: ".", Base: "..", Slash: true, Dot: true},
		"a/..":        {Path: "a/..", Dir: "a", Base: "..", Slash: true, Dot: true},
		"a/.//":       {Path: "a", Dir: ".", Base: "a", Slash: true, Dot: true},
		"a/../b//":    {Path: "a/../b", Dir: "a/..", Base: "b", Slash: true},
		"a.b/..c/.d.": {Path: "a.b/..c/.d.", Dir: "a.b/..c", Base: ".d."},
	} {
		if got, err := Parse(path); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", path, got, err, want)
		}
	}
	for path, want := range map[string]vfs.Errno{
		"": vfs.ENOENT, "/": vfs.EPERM, "/a": vfs.EPERM, "a\x00": vfs.EINVAL, "a\xff": vfs.EILSEQ,
		strings.Repeat("a", 256): vfs.ENAMETOOLONG, "a/" + strings.Repeat("b", 256): vfs.ENAMETOOLONG, strings.Repeat("a/", 2049): vfs.ENAMETOOLONG,
	} {
		if _, err := Parse(path); vfs.ErrnoOf(err) != want {
			t.Errorf("%.20q: got %v, want %v", path, err, want)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for target, want := range map[string]vfs.Errno{
		"a": 0, "../..": 0, strings.Repeat("a", 4095): 0, "": vfs.ENOENT, "/a": vfs.EPERM, "a\x00": vfs.EINVAL, "\xff": vfs.EILSEQ,
		strings.Repeat("a", 4096): vfs.ENAMETOOLONG, strings.Repeat("a", 5000): vfs.ENAMETOOLONG,
	} {
		if got := vfs.ErrnoOf(CheckTarget(target)); got != want {
			t.Errorf("%.20q: got %v, want %v", target, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		path, before, after, want string
		slash                     bool
	}{
		{"a/b", "", "", "a b", false},
		{"a//b/", "", "", "a b", true},
		{".", "", "", ".", false},
		{"./", "", "", ".", true},
		{".", "x", "", "x .", false},
		{".", "x", "y", "x y", false},
		{"./a/./b/.", "x", "y z", "x a b y z", false},
		{"../a", "x", "", "x .. a", false},
		{".", "", "y", "y", false},
	} {
		got, slash, err := Split(c.path, strings.Fields(c.before), strings.Fields(c.after))
		if err != nil || slash != c.slash || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q between %q and %q: got %q, %v, %v", c.path, c.before, c.after, got, slash, err)
		}
	}
	if _, _, err := Split("/a", nil, nil); vfs.ErrnoOf(err) != vfs.EPERM {
		t.Errorf("absolute: got %v", err)
	}
}

func TestUp(t *testing.T) {
	for _, c := range []struct {
		parts string
		at    int
		want  string
	}{
		{"a ..", 1, "."},
		{"a b .. c", 2, "a c"},
		{"a b .. ..", 2, "."},
		{"a b .. .. ..", 2, ""},
		{"..", 0, ""},
	} {
		before := strings.Fields(c.parts)
		if got := Up(before, c.at); !slices.Equal(got, strings.Fields(c.want)) || strings.Join(before, " ") != c.parts {
			t.Errorf("%q at %d: got %q, want %q", c.parts, c.at, got, c.want)
		}
	}
}
