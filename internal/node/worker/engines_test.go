package worker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/node/control"
)

// calledAs is an engine where nothing runs.
type calledAs struct {
	engine.Engine
	name, dir string
}

func (e calledAs) Name() string { return e.name }

// TestMakeEngines: each engine has a folder of its own; one that cannot be made is left out, unless it is the only one.
func TestMakeEngines(t *testing.T) {
	engines := Engines{Kinds: strings.Fields, New: func(kind, dir string) (engine.Engine, error) {
		if kind == "none" {
			return nil, errors.New("there is no such engine")
		}
		return calledAs{name: kind, dir: dir}, nil
	}}
	for _, c := range []struct {
		kind  string
		names []string
		said  string
		err   string
	}{
		{"a", []string{"a"}, "", ""},
		{"a b", []string{"a", "b"}, "", ""},
		{"none b", []string{"b"}, "left out: there is no such engine", ""},
		{"none", nil, "", "make engine: there is no such engine"},
		{"", nil, "", "make engine"},
	} {
		w := &worker{engines: engines, setup: control.Setup{Engine: c.kind, Dir: t.TempDir()}}
		err := w.makeEngines()
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || !slices.Equal(w.names(), c.names) {
			t.Errorf("%q: engines %v, %v", c.kind, w.names(), err)
		}
		dirs := map[string]bool{}
		for _, e := range w.engs {
			dirs[e.dir] = true
			if info, err := os.Stat(e.dir); err != nil || !info.IsDir() || e.Engine.(calledAs).dir != e.dir || e.CodeID() != "" {
				t.Errorf("%q: folder %s, %v", c.kind, e.dir, err)
			}
		}
		if len(dirs) != len(c.names) {
			t.Errorf("%q: folders %v", c.kind, dirs)
		}
	}
}

// TestMeasures: what was measured is there again; what cannot be figures, or is no file, is as good as none.
func TestMeasures(t *testing.T) {
	m := measures{filepath.Join(t.TempDir(), "measures")}
	id := [32]byte{1, 2, 3}
	if b := m.Load(id); b != nil {
		t.Errorf("loaded %q from nothing", b)
	}
	for _, text := range []string{"one", "another", strings.Repeat("x", choose.MaxFigures)} {
		if err := m.Save(id, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b := m.Load(id); string(b) != text {
			t.Errorf("loaded %.80q, want %.80q", b, text)
		}
	}
	if err := os.WriteFile(m.path(id), bytes.Repeat([]byte("x"), choose.MaxFigures+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if b := m.Load(id); b != nil {
		t.Errorf("loaded %d bytes", len(b))
	}
	if b := m.Load([32]byte{9}); b != nil {
		t.Errorf("loaded %q of another module", b)
	}
	if err := os.Remove(m.path(id)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(m.path(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if b := m.Load(id); b != nil {
		t.Errorf("loaded %q from a folder", b)
	}
	if err := m.Save(id, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if runtime.GOOS == "windows" {
		return // which asks nobody's leave
	}
	other := measures{filepath.Join(t.TempDir(), "file", "measures")}
	if err := os.WriteFile(filepath.Dir(other.dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := other.Save(id, []byte("x")); err == nil {
		t.Error("saved below a file")
	}
}

// TestMeasuresBounded: the folder does not grow without end, and what is not ours in it stays.
func TestMeasuresBounded(t *testing.T) {
	m := measures{t.TempDir()}
	old := time.Now().Add(-time.Hour)
	for i := range mostMeasures {
		name := filepath.Join(m.dir, fmt.Sprintf("%064x%s", i, measuresSuffix))
		if i%100 == 0 {
			name = filepath.Join(m.dir, fmt.Sprintf("%s%d", atomicfile.TempPrefix, i))
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := old.Add(time.Duration(i) * time.Millisecond)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	mine := filepath.Join(m.dir, "notes")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	id := [32]byte{0xff}
	if err := m.Save(id, []byte("x")); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(m.dir)
	if err != nil || len(list) != mostMeasures*3/4+2 {
		t.Errorf("%d files, %v", len(list), err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if string(m.Load(id)) != "x" || m.Load([32]byte{31: 1}) != nil {
		t.Error("the wrong ones went")
	}
}
