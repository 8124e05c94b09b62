package wire

import (
	"bytes"
	"testing"
)

func TestSmoke(t *testing.T) {
	a, b := NewSession(SessionConfig{}), NewSession(SessionConfig{})
	fs, err := a.Send(&Migrate{Offload: 1, Attempt: 1, Continuation: ContinuationCall, Args: []uint64{1, 2}, Image: Image{WASI: bytes.Repeat([]byte("x"), 300000)}})
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	for _, f := range fs {
		if m, err = b.Receive(f); err != nil {
			t.Fatal(err)
		}
	}
	if len(fs) != 5 || len(m.(*Migrate).Image.WASI) != 300000 {
		t.Fatal(len(fs), m)
	}
}
