package learned

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func key(n byte, args ...string) Key {
	return Key{Module: [32]byte{n}, Engine: "wazero-interpreter", Args: args}
}

func figures(v float64) *Figures {
	return &Figures{Runs: 1, Wall: Mean{v, 1}, Functions: []Function{{Index: 7, Local: Mean{v, 3}, Home: Mean{2, 1}}}}
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestMean(t *testing.T) {
	var m Mean
	for _, c := range []struct{ add, want float64 }{{4, 4}, {8, 6}, {6, 6}, {10, 7}, {11, 8}, {0, 6}} {
		if m.Add(c.add); m.V != c.want {
			t.Errorf("after %g: got %g, want %g", c.add, m.V, c.want)
		}
	}
}

func TestRecall(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "known", "cloud")}
	if f, same := s.Recall(key(1)); f != nil || same {
		t.Errorf("got %v, %v of nothing", f, same)
	}
	for i, args := range [][]string{{"a", "b"}, {"ab"}, {"a", "c"}} {
		if err := s.Learn(key(1, args...), figures(float64(i)), now.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i, args := range [][]string{{"a", "b"}, {"ab"}, {"a", "c"}} {
		want := figures(float64(i))
		want.Used = now.Add(time.Duration(i))
		if f, same := s.Recall(key(1, args...)); !same || !reflect.DeepEqual(f, want) {
			t.Errorf("%q: got %+v, %v", args, f, same)
		}
	}
	if f, same := s.Recall(key(1, "new")); same || f == nil || f.Wall.V != 2 {
		t.Errorf("other arguments: got %+v, %v, want those of the last run", f, same)
	}
	if f, _ := s.Recall(key(2, "a")); f != nil {
		t.Errorf("another module: got %+v", f)
	}
	other := key(1, "a", "b")
	other.Engine = "../../wazero compiler"
	if f, _ := s.Recall(other); f != nil {
		t.Errorf("another engine: got %+v", f)
	}
	if err := s.Learn(other, figures(1), now); err != nil {
		t.Fatal(err)
	}
	if list, err := os.ReadDir(s.Dir); err != nil || len(list) != 2 {
		t.Errorf("got %v, %v, want two files", list, err)
	}
	if err := (Store{}).Learn(key(1), figures(1), now); err != nil {
		t.Error(err)
	}
}

// TestForgets: the oldest arguments and programs go.
func TestForgets(t *testing.T) {
	s := Store{t.TempDir()}
	for i := range maxArgs + 3 {
		if err := s.Learn(key(1, fmt.Sprint(i)), figures(1), now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxArgs + 3 {
		if _, same := s.Recall(key(1, fmt.Sprint(i))); same != (i >= 3) {
			t.Errorf("arguments %d: got %v", i, same)
		}
	}
	for i := range maxPrograms + 4 {
		k := key(0)
		k.Module[1], k.Module[2] = byte(i), byte(i>>8)
		if err := s.Learn(k, figures(1), now); err != nil {
			t.Fatal(err)
		}
		old := now.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(s.path(k), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := os.ReadDir(s.Dir); err != nil || len(list) != maxPrograms {
		t.Errorf("%d files, %v, want %d", len(list), err, maxPrograms)
	}
}

// TestDamaged: what cannot be used is as good as nothing, and is replaced.
func TestDamaged(t *testing.T) {
	s := Store{t.TempDir()}
	for _, c := range []struct{ name, text string }{
		{"empty", ""}, {"cut", `{"version":1,"last":{"runs"`}, {"version", `{"version":9,"last":{"runs":1}}`},
		{"negative", `{"version":1,"last":{"runs":1,"wall":{"v":-1,"n":1}}}`},
		{"count", `{"version":1,"last":{"runs":1,"functions":[{"index":1,"local":{"v":1,"n":-1}}]}}`},
		{"null", `{"version":1,"last":null,"by_args":{"x":null}}`},
		{"many", `{"version":1,"by_args":{"x":{}` + func() (s string) {
			for i := range maxArgs {
				s += fmt.Sprintf(`,"a%d":{}`, i)
			}
			return s
		}() + `}}`},
		{"long", `{"version":1,"last":{"runs":1}}` + strings.Repeat(" ", maxFile)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(s.path(key(1)), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if f, same := s.Recall(key(1)); f != nil || same {
				t.Errorf("got %+v, %v", f, same)
			}
			if err := s.Learn(key(1), figures(3), now); err != nil {
				t.Fatal(err)
			}
			if f, same := s.Recall(key(1)); !same || f.Wall.V != 3 {
				t.Errorf("got %+v, %v after learning anew", f, same)
			}
		})
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, _ := s.Recall(key(1)); f != nil {
		t.Error("figures out of a file in the directory's place")
	}
	if err := s.Learn(key(1), figures(1), now); err == nil {
		t.Error("learned into a file in the directory's place")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"version":1,"last":{"runs":1,"wall":{"v":1,"n":1},"functions":[{"index":1,"local":{"v":1,"n":1}}]},"by_args":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := Store{t.TempDir()}
		if err := os.WriteFile(s.path(key(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Recall(key(1)); got != nil && !got.sound() {
			t.Errorf("unsound figures %+v", got)
		}
	})
}
