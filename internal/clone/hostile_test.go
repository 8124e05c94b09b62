package clone_test

import (
	"math"
	"testing"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// resync asks where the clone stands, past what is still on the way.
func (d *device) resync() *wire.SyncState {
	d.t.Helper()
	d.send(&wire.Sync{})
	for {
		switch m := d.recv().(type) {
		case *wire.SyncState:
			return m
		case *wire.Bye:
			d.t.Fatalf("conversation ended: %+v", m)
		}
	}
}

// TestRefusedOffloads sends offloads that cannot be: each is refused, and the conversation goes on.
func TestRefusedOffloads(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name  string
		code  wire.Code
		spoil func(m *wire.Migrate, ms []wire.Message)
	}{
		{"base", wire.CodeBase, func(m *wire.Migrate, _ []wire.Message) { m.Image.Base[0]++ }},
		{"candidate", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Candidate = 3 }},
		{"candidate_max", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Candidate = math.MaxUint32 }},
		{"arguments_none", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Args = nil }},
		{"arguments_more", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Args = make([]uint64, 2000) }},
		{"globals", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Image.Globals = nil }},
		{"memory_less", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Image.MemoryBytes -= 1 << 16 }},
		{"memory_more", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Image.MemoryBytes = 4 << 30 }},
		{"wasi", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Image.WASI = []byte("garbage") }},
		{"dropped", wire.CodeProtocol, func(m *wire.Migrate, _ []wire.Message) { m.Image.Dropped = []uint32{0} }},
		{"digest", wire.CodeDigest, func(_ *wire.Migrate, ms []wire.Message) { d := ms[1].(*wire.Pages).Data; d[len(d)-1]++ }},
		{"header", wire.CodeDigest, func(_ *wire.Migrate, ms []wire.Message) { ms[1].(*wire.Pages).Data[0]++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := *r
			r.t = t
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			d := r.ready()
			ms := d.migrate(1, pure, d.initial(), 100)
			c.spoil(ms[0].(*wire.Migrate), ms)
			d.send(ms...)
			if f, ok := d.recv().(*wire.Refuse); !ok || f.Code != c.code || f.Offload != 1 || f.Attempt != 1 {
				t.Fatalf("answer %+v, want a refusal with %v", f, c.code)
			}
			if s := d.resync(); delta.ID(s.State) != d.initial() {
				t.Errorf("clone stands at %+v", s)
			}
			d.honest(2, d.initial())
		})
	}
}

// TestOutOfPlace sends what has no place where it comes: the conversation ends, the host lives on.
func TestOutOfPlace(t *testing.T) {
	r := newRig(t)
	for _, m := range []wire.Message{
		&wire.Commit{Offload: 1, Attempt: 1}, &wire.HomeCall{Offload: 1, Attempt: 1, Call: 1}, &wire.Output{Offload: 1, Attempt: 1, Call: 1},
		&wire.Note{Offload: 1, Attempt: 1, Call: 1}, &wire.SyncState{}, &wire.Module{Total: 1, Data: []byte{0}},
		&wire.Refuse{Code: wire.CodeLimit}, &wire.Reintegrate{Offload: 1, Attempt: 1, Outcome: wire.OutcomeHandedBack},
	} {
		t.Run(m.Type().String(), func(t *testing.T) {
			r := *r
			r.t = t
			d := r.ready()
			d.send(m)
			if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeProtocol {
				t.Errorf("answer %+v", b)
			}
		})
	}
	for name, spoil := range map[string]func(ms []wire.Message){
		"length": func(ms []wire.Message) { ms[2].(*wire.PagesEnd).Bytes++ },
		"pages":  func(ms []wire.Message) { ms[1].(*wire.Pages).Offload++ },
		"missed": func(ms []wire.Message) { ms[1] = &wire.Sync{} },
	} {
		d := r.ready()
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		ms := d.migrate(1, pure, d.initial(), 100)
		spoil(ms)
		d.send(ms...)
		if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeProtocol {
			t.Errorf("%s: answer %+v", name, b)
		}
	}
	d := r.ready()
	clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
	// Late pages and cancels of attempts that are over mean nothing, results of calls that nobody made neither.
	d.send(&wire.Pages{Offload: 9, Attempt: 1}, &wire.PagesEnd{Offload: 9, Attempt: 1}, &wire.Cancel{Offload: 9, Attempt: 1, Reason: wire.CancelStopped},
		&wire.HomeResult{Offload: 9, Attempt: 1, Call: 1}, &wire.Credit{Offload: 9, Attempt: 1, Limit: 7})
	state := d.honest(1, d.initial())
	d.send(d.migrate(2, pure, state, 100)...)
	a := d.recv().(*wire.Reintegrate)
	d.staged(a)
	d.send(&wire.Commit{Offload: 2, Attempt: 1, State: wire.ID{1}})
	if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeProtocol {
		t.Errorf("answer to a wrong commit: %+v", b)
	}
}

// readFirst runs work until its first home call.
func (d *device) readFirst(offload uint64, base delta.ID) *wire.HomeCall {
	d.t.Helper()
	d.send(d.migrate(offload, work, base, 1)...)
	c, ok := d.recv().(*wire.HomeCall)
	var req wasi.Request
	if !ok || c.Call != 1 || req.Decode(c.Request) != nil || req.Op != wasi.OpRead || req.Handle != 1 {
		d.t.Fatalf("first call is %+v", c)
	}
	return c
}

// TestWrongAnswers answers home calls with what is no answer: the call is handed back, and the conversation goes on.
func TestWrongAnswers(t *testing.T) {
	r := newRig(t)
	for name, answer := range map[string]func(c *wire.HomeCall) *wire.HomeResult{
		"number":  func(c *wire.HomeCall) *wire.HomeResult { return &wire.HomeResult{Call: c.Call + 1} },
		"garbage": func(c *wire.HomeCall) *wire.HomeResult { return &wire.HomeResult{Call: c.Call, Response: []byte("x")} },
		"empty":   func(c *wire.HomeCall) *wire.HomeResult { return &wire.HomeResult{Call: c.Call} },
		"long": func(c *wire.HomeCall) *wire.HomeResult {
			return &wire.HomeResult{Call: c.Call, Response: (&wasi.Response{N: 9, Data: make([]byte, 9)}).AppendTo(nil)}
		},
		"counted": func(c *wire.HomeCall) *wire.HomeResult {
			return &wire.HomeResult{Call: c.Call, Response: (&wasi.Response{N: math.MaxUint64, Data: make([]byte, 8)}).AppendTo(nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			d := r.ready()
			c := d.readFirst(1, d.initial())
			h := answer(c)
			h.Offload, h.Attempt = c.Offload, c.Attempt
			d.send(&wire.HomeResult{Offload: c.Offload, Attempt: c.Attempt + 1, Call: c.Call}, h)
			if a, ok := d.recv().(*wire.Reintegrate); !ok || a.Outcome != wire.OutcomeHandedBack {
				t.Fatalf("answer %+v", a)
			}
			if s := d.resync(); delta.ID(s.State) != d.initial() {
				t.Errorf("clone stands at %+v", s)
			}
			d.honest(2, d.initial())
		})
	}
}

// TestCancel gives attempts up at several points: the clone stands where it was but for pages that it names.
func TestCancel(t *testing.T) {
	r := newRig(t)
	cancel := func(offload uint64) *wire.Cancel {
		return &wire.Cancel{Offload: offload, Attempt: 1, Reason: wire.CancelOvertaken}
	}
	for _, c := range []struct {
		name string
		till func(d *device, base delta.ID)
	}{
		{"migrate", func(d *device, base delta.ID) { d.send(d.migrate(2, pure, base, 100)[0]) }},
		{"pages", func(d *device, base delta.ID) { d.send(d.migrate(2, pure, base, 100)[:2]...) }},
		{"arrived", func(d *device, base delta.ID) { d.send(d.migrate(2, say, base, 100)...) }},
		{"home_call", func(d *device, base delta.ID) { d.readFirst(2, base) }},
		{"answered", func(d *device, base delta.ID) {
			d.send(d.migrate(2, pure, base, 100)...)
			d.staged(d.recv().(*wire.Reintegrate))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := *r
			r.t = t
			clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
			d := r.ready()
			state := d.honest(1, d.initial())
			c.till(d, state)
			d.send(cancel(2))
			s := d.resync()
			if delta.ID(s.State) != state {
				t.Errorf("clone stands at %x, want %v", s.State[:4], state)
			}
			// Page 31 came with the attempt; the device must send it again.
			if written := len(s.Written) > 0 && s.Written[len(s.Written)-1] == (wire.Range{First: 31, Count: 1}); c.name != "pages" && written != (c.name != "migrate") {
				t.Errorf("written are %v", s.Written)
			}
			d.honest(3, state)
		})
	}
}

// TestOutput takes a clone's output in, and lets it wait for credit.
func TestOutput(t *testing.T) {
	r := newRig(t)
	d := r.ready()
	d.send(d.migrate(1, say, d.initial(), 12345)...)
	got := ""
	for m := d.recv(); ; m = d.recv() {
		o, ok := m.(*wire.Output)
		if !ok {
			a := m.(*wire.Reintegrate)
			if a.Outcome != wire.OutcomeResults || len(a.Results) != 0 || a.Calls != 2 {
				t.Errorf("answer %+v", a)
			}
			break
		}
		if o.Handle != 2 || o.Offload != 1 || o.Attempt != 1 {
			t.Errorf("output %+v", o)
		}
		got += string(o.Data)
	}
	if got != "say 12345\n" {
		t.Errorf("said %q", got)
	}
}
