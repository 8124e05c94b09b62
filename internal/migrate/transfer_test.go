package migrate_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestTransferRefused spoils a transfer on the way: nothing of it may be believed, and a stager's memory stays.
func TestTransferRefused(t *testing.T) {
	from := startWork(t)
	run(t, from, "work", 5)
	pages := &linmem.PageSet{}
	pages.AddRange(0, 32) // more than one message
	for i, b := 0, from.Mem.Bytes(); i < len(b); i += 8 {
		b[i] = byte(i >> 7)
	}
	a := migrate.Attempt{Offload: 3, Number: 2}
	// piece is the first message of pages, end the last one; data is where the stream's fields are.
	piece := func(ms []wire.Message) *wire.Pages { return ms[0].(*wire.Pages) }
	last := func(ms []wire.Message) *wire.Pages { return ms[len(ms)-2].(*wire.Pages) }
	end := func(ms []wire.Message) *wire.PagesEnd { return ms[len(ms)-1].(*wire.PagesEnd) }
	type spoiler func(img *wire.Image, ms []wire.Message) []wire.Message
	for _, c := range []struct {
		name  string
		spoil spoiler
		is    error
	}{
		{"good", func(_ *wire.Image, ms []wire.Message) []wire.Message { return ms }, nil},
		{"digest", func(_ *wire.Image, ms []wire.Message) []wire.Message {
			d := last(ms).Data
			d[len(d)-1]++
			return ms
		}, delta.ErrDigest},
		{"content", func(_ *wire.Image, ms []wire.Message) []wire.Message {
			d := last(ms).Data
			d[len(d)-40]++
			return ms
		}, delta.ErrDigest},
		{"base_in_stream", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Data[4]++; return ms }, migrate.ErrBadState},
		{"base_in_image", func(i *wire.Image, ms []wire.Message) []wire.Message { i.Base[0]++; return ms }, migrate.ErrBadState},
		{"larger_memory", func(i *wire.Image, ms []wire.Message) []wire.Message { i.MemoryBytes += 1 << 16; return ms }, migrate.ErrBadState},
		{"smaller_memory", func(i *wire.Image, ms []wire.Message) []wire.Message { i.MemoryBytes -= 1 << 16; return ms }, delta.ErrLimit},
		{"no_memory", func(i *wire.Image, ms []wire.Message) []wire.Message { i.MemoryBytes = 0; return ms }, delta.ErrLimit},
		{"magic", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Data[0]++; return ms }, delta.ErrFormat},
		{"count", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Data[44]--; return ms }, delta.ErrFormat},
		{"more_pages_than_allowed", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Data[44] += 8; return ms }, delta.ErrFormat},
		{"beyond_memory", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Data[48] = 31; return ms }, delta.ErrFormat},
		{"truncated", func(_ *wire.Image, ms []wire.Message) []wire.Message {
			l := last(ms)
			l.Data = l.Data[:len(l.Data)-1]
			end(ms).Bytes--
			return ms
		}, delta.ErrFormat},
		{"only_end", func(_ *wire.Image, ms []wire.Message) []wire.Message { end(ms).Bytes = 0; return ms[len(ms)-1:] }, delta.ErrFormat},
		{"longer", func(_ *wire.Image, ms []wire.Message) []wire.Message {
			last(ms).Data = append(last(ms).Data, 0)
			end(ms).Bytes++
			return ms
		}, delta.ErrFormat},
		{"length", func(_ *wire.Image, ms []wire.Message) []wire.Message { end(ms).Bytes++; return ms }, wire.ErrProtocol},
		{"attempt", func(_ *wire.Image, ms []wire.Message) []wire.Message { piece(ms).Attempt--; return ms }, wire.ErrProtocol},
		{"offload_at_end", func(_ *wire.Image, ms []wire.Message) []wire.Message { end(ms).Offload++; return ms }, wire.ErrProtocol},
		{"order", func(_ *wire.Image, ms []wire.Message) []wire.Message { ms[0], ms[1] = ms[1], ms[0]; return ms }, delta.ErrFormat},
		{"missing", func(_ *wire.Image, ms []wire.Message) []wire.Message { return append(ms[:1:1], ms[2:]...) }, nil},
		{"stranger", func(_ *wire.Image, ms []wire.Message) []wire.Message {
			return append([]wire.Message{ms[0], &wire.Sync{}}, ms[1:]...)
		}, wire.ErrProtocol},
		{"lost", func(_ *wire.Image, ms []wire.Message) []wire.Message { return ms[:len(ms)-1] }, errEmpty},
		{"nothing", func(_ *wire.Image, ms []wire.Message) []wire.Message { return nil }, errEmpty},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := capture(t, from, delta.ID{9})
			m := &mail{t: t}
			id, _, err := migrate.SendPages(from, a, img, pages, delta.Options{}, m.send)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.queue) < 3 {
				t.Fatalf("only %d messages", len(m.queue))
			}
			m.queue = c.spoil(img, m.queue)
			again := &mail{t: t, queue: m.queue}
			lim := delta.Limits{MaxPages: 32}
			s, err := migrate.Stage(a, img, lim, m.next)
			if c.name == "good" {
				if err != nil || s.Next != id {
					t.Errorf("staged %v, %v, want %v", s, err, id)
				}
				return
			}
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("stage: %v, want %v", err, c.is)
			}
			into := bytes.Repeat([]byte{7}, 2<<16)
			if _, err := migrate.ReceiveInto(into, a, img, lim, again.next); err == nil {
				t.Error("received")
			}
		})
	}
}

func TestTransferLimit(t *testing.T) {
	p := startWork(t)
	pages := &linmem.PageSet{}
	pages.AddRange(0, 3)
	img, m := capture(t, p, delta.ID{}), &mail{t: t}
	a := migrate.Attempt{Offload: 1, Number: 1}
	if _, _, err := migrate.SendPages(p, a, img, pages, delta.Options{}, m.send); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Stage(a, img, delta.Limits{MaxPages: 2}, m.next); !errors.Is(err, delta.ErrLimit) {
		t.Errorf("error %v, want ErrLimit", err)
	}
}

// TestTransferOfNothing moves a process that has no memory, and one without changes.
func TestTransferOfNothing(t *testing.T) {
	p := startWork(t)
	a := migrate.Attempt{Offload: 1, Number: 1}
	for _, proc := range []*migrate.Process{p, {WASI: p.WASI}} {
		img := capture(t, proc, delta.ID{})
		m := &mail{t: t}
		id, _, err := migrate.SendPages(proc, a, img, &linmem.PageSet{}, delta.Options{}, m.send)
		if err != nil {
			t.Fatal(err)
		}
		s, err := migrate.Stage(a, img, delta.Limits{}, m.next)
		if err != nil || s.Next != id || s.Len() != 0 {
			t.Errorf("staged %v, %v", s, err)
		}
	}
}

// TestSendFails gives up when the link does.
func TestSendFails(t *testing.T) {
	p := startWork(t)
	pages := &linmem.PageSet{}
	pages.AddRange(0, 32)
	for _, n := range []int{0, 1} {
		sent := 0
		_, _, err := migrate.SendPages(p, migrate.Attempt{Offload: 1, Number: 1}, capture(t, p, delta.ID{}), pages, delta.Options{}, func(wire.Message) error {
			if sent++; sent > n {
				return errEmpty
			}
			return nil
		})
		if !errors.Is(err, errEmpty) {
			t.Errorf("after %d messages: %v", n, err)
		}
	}
}
