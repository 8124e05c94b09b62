package engines

import (
	"context"
	"testing"
)

// Names are those that the engines themselves have.
func TestAlike(t *testing.T) {
	var names []string
	for _, kind := range Kinds() {
		e, err := New(kind, "")
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name())
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if got, want := Alike(e.Name(), e.Name()), kind != Wasmtime; got != want {
			t.Errorf("%s is alike to itself: %t", e.Name(), got)
		}
	}
	for i, a := range names {
		for _, b := range names[:i] {
			if Alike(a, b) || Alike(b, a) {
				t.Errorf("%s and %s are alike", a, b)
			}
		}
	}
}
