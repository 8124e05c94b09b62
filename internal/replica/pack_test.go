package replica

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestPack(t *testing.T) {
	var p Packer
	var u Unpacker
	defer u.Close()
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 500)
	for i := range words {
		words[i] = fmt.Appendf(nil, "word%d ", r.IntN(1e9))
	}
	raw, packed := 0, 0
	for i := range 300 {
		var m []byte
		for n := 1 + r.IntN(100<<10); len(m) < n; {
			m = append(m, words[r.IntN(len(words))]...)
		}
		if i%7 == 0 {
			m = m[:1]
		}
		b, err := p.Pack(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := u.Unpack(b)
		if err != nil || !bytes.Equal(got, m) {
			t.Fatalf("message %d of %d bytes: got %d, %v", i, len(m), len(got), err)
		}
		raw, packed = raw+len(m), packed+len(b)
	}
	if packed*3 > raw {
		t.Errorf("%d bytes became %d", raw, packed)
	}
}

// TestUnpackRefuses: nothing that is no part of a stream is taken for one, and after it nothing is.
func TestUnpackRefuses(t *testing.T) {
	good, err := new(Packer).Pack(bytes.Repeat([]byte("chunk "), 1000))
	if err != nil {
		t.Fatal(err)
	}
	long := append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, good[2:]...)
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-3], "too-long": long, "no-stream": {5, 1, 2, 3, 4, 5}, "longer-than-it-is": append([]byte{0xff, 0x7f}, good[2:]...),
	} {
		var u Unpacker
		if _, err := u.Unpack(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := u.Unpack(good); !errors.Is(err, ErrMalformed) {
			t.Errorf("after %s: got %v", name, err)
		}
		u.Close()
	}
}

func FuzzUnpack(f *testing.F) {
	var p Packer
	for _, m := range []string{"a", "a message, a message", string(make([]byte, 100000))} {
		b, err := p.Pack([]byte(m))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte("x"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var u Unpacker
		defer u.Close()
		for _, m := range [][]byte{a, b} {
			if out, err := u.Unpack(m); err == nil && len(out) > maxPacked {
				t.Errorf("%d bytes", len(out))
			}
		}
	})
}
