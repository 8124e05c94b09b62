package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// list returns messages one after the other and then an error.
func list(end error, ms ...Message) func() (Message, error) {
	return func() (Message, error) {
		if len(ms) == 0 {
			return nil, end
		}
		m := ms[0]
		ms = ms[1:]
		return m, nil
	}
}

func TestPagesStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := bytes.Repeat([]byte("0123456789"), rapid.IntRange(0, 30_000).Draw(t, "size"))
		var ms []Message
		w := NewPagesWriter(3, 4, func(m Message) error {
			if p, ok := m.(*Pages); ok {
				m = &Pages{p.Offload, p.Attempt, bytes.Clone(p.Data)}
			}
			ms = append(ms, m)
			return m.Validate()
		})
		for in := want; len(in) > 0; {
			n := min(len(in), rapid.IntRange(1, 100_000).Draw(t, "write"))
			if _, err := w.Write(in[:n]); err != nil {
				t.Fatal(err)
			}
			in = in[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if w.Total() != uint64(len(want)) || len(ms) != 1+(len(want)+MaxData-1)/MaxData {
			t.Fatalf("total %d in %d messages of %d", w.Total(), len(ms), len(want))
		}
		got, err := io.ReadAll(NewPagesReader(3, 4, list(io.EOF, ms...)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func TestPagesReaderRefuses(t *testing.T) {
	lost := errors.New("lost")
	page := &Pages{Offload: 1, Attempt: 1, Data: []byte("abc")}
	for name, tc := range map[string]struct {
		next func() (Message, error)
		want error
	}{
		"lost":          {list(lost, page), lost},
		"eof":           {list(io.EOF, page), io.ErrUnexpectedEOF},
		"other-offload": {list(lost, page, &Pages{Offload: 2, Attempt: 1}), ErrProtocol},
		"other-attempt": {list(lost, page, &Pages{Offload: 1, Attempt: 2}), ErrProtocol},
		"end-of-other":  {list(lost, page, &PagesEnd{Offload: 1, Attempt: 2, Bytes: 3}), ErrProtocol},
		"length":        {list(lost, page, &PagesEnd{Offload: 1, Attempt: 1, Bytes: 4}), ErrProtocol},
		"out-of-place":  {list(lost, page, &HomeCall{Offload: 1, Attempt: 1, Call: 1}), ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := io.ReadAll(NewPagesReader(1, 1, tc.next))
			if !errors.Is(err, tc.want) || string(got) != "abc" {
				t.Fatalf("read %q, error %v, want %v", got, err, tc.want)
			}
		})
	}
	w := NewPagesWriter(1, 1, func(Message) error { return lost })
	if _, err := io.Copy(w, iotest.OneByteReader(bytes.NewReader(make([]byte, MaxData)))); !errors.Is(err, lost) {
		t.Fatalf("error %v, want that of send", err)
	}
	if err := w.Close(); !errors.Is(err, lost) {
		t.Fatalf("error %v, want that of send", err)
	}
}

func BenchmarkPages(b *testing.B) {
	data := make([]byte, 1<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		x, y := NewSession(SessionConfig{}), NewSession(SessionConfig{})
		w := NewPagesWriter(1, 1, func(m Message) error {
			frames, err := x.Send(m)
			for _, f := range frames {
				if _, err := y.Receive(f); err != nil {
					return err
				}
			}
			return err
		})
		w.Write(data)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHomeCall(b *testing.B) {
	x, y := NewSession(SessionConfig{}), NewSession(SessionConfig{})
	call := &HomeCall{Offload: 1, Attempt: 1, Call: 1, Request: make([]byte, 64)}
	result := &HomeResult{Offload: 1, Attempt: 1, Call: 1, Response: make([]byte, 64)}
	trip := func(from, to *Session, m Message) {
		frames, err := from.Send(m)
		if err == nil {
			_, err = to.Receive(frames[0])
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		trip(x, y, call)
		trip(y, x, result)
	}
}

func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.Uint32Range(1, 20).Draw(t, "step")
		count := rapid.Uint32Range(0, (MaxMemory/pageSize-1)/step).Draw(t, "count")
		rs := Ranges(func(yield func(uint32) bool) {
			for i := range count {
				if !yield(i * step) {
					return
				}
			}
		})
		if err := (&SyncState{MemoryBytes: MaxMemory, Written: rs}).Validate(); err != nil {
			t.Fatal(err)
		}
		var covered uint64
		at := uint32(0) // next page to be covered
		for _, r := range rs {
			covered += uint64(r.Count)
			if at*step < r.First {
				break
			}
			at = (r.First+r.Count-1)/step + 1
		}
		if at < count {
			t.Fatalf("page %d of %d is not covered", at*step, count)
		}
		if step > 1 && count <= MaxRanges && covered != uint64(count) {
			t.Fatalf("%d pages covered for %d", covered, count)
		}
	})
}
