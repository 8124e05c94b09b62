//go:build linux || darwin

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestMoveWithoutReplacing(t *testing.T) {
	root := t.TempDir()
	top, err := OpenTop(root)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	for name, move := range map[string]func(d *dir, name, as string) error{
		"at_once": func(d *dir, name, as string) error { return d.Move(name, d, as) },
		"checked": func(d *dir, name, as string) error { return d.moveChecked(name, d, as) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range []string{"d1", "d2"} {
				if err := top.Mkdir(d, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range []string{"f1", "f2"} {
				if err := os.WriteFile(filepath.Join(root, f), []byte(f), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			d := top.(*dir)
			for _, pair := range [][2]string{{"f1", "f2"}, {"d1", "d2"}, {"f1", "d1"}, {"d1", "f1"}} {
				if err := move(d, pair[0], pair[1]); !errors.Is(err, fs.ErrExist) {
					t.Errorf("%v: got %v, want that it exists", pair, err)
				}
			}
			if err := errors.Join(move(d, "f1", "f3"), move(d, "d1", "d3")); err != nil {
				t.Error(err)
			}
			if err := move(d, "f1", "f4"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			if b, _ := os.ReadFile(filepath.Join(root, "f3")); string(b) != "f1" {
				t.Errorf("got %q", b)
			}
			for _, n := range []string{"f2", "f3", "d2", "d3"} {
				if err := os.Remove(filepath.Join(root, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
