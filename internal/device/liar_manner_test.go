package device_test

import (
	"context"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// manners are messages out of place, old ones again, and none at all.
func manners() []lie {
	var all []lie
	m := func(name, line string, then func(s *stage)) {
		all = append(all, lie{name: name, line: broke + line, reason: "distrust", script: once(then)})
	}
	// Each type of message in the place of another.
	for _, x := range []wire.Message{
		&wire.Module{Total: 1, Data: []byte{0}}, &wire.Migrate{Offload: 1, Attempt: 1, Continuation: wire.ContinuationCall},
		&wire.Pages{Offload: 1, Attempt: 1}, &wire.PagesEnd{Offload: 1, Attempt: 1},
		&wire.HomeResult{Offload: 1, Attempt: 1, Call: 1}, &wire.Credit{Offload: 1, Attempt: 1},
		&wire.Commit{Offload: 1, Attempt: 1}, &wire.Cancel{Offload: 1, Attempt: 1, Reason: wire.CancelOutput},
		&wire.Sync{}, &wire.SyncState{},
	} {
		m("place_"+x.Type().String(), x.Type().String()+" out of place", func(s *stage) { s.send(x) })
		all = append(all, lie{name: "early_" + x.Type().String(), line: broke, script: func(s *stage) { s.send(x) }})
	}
	m("place_refuse", "refuse of offload 7.1 in the midst of 1.1", func(s *stage) {
		s.send(&wire.Refuse{Offload: 7, Attempt: 1, Code: wire.CodeLimit})
	})
	for _, x := range []wire.Message{&wire.HomeCall{Offload: 9, Attempt: 1, Call: 1}, &wire.Output{Offload: 9, Attempt: 1, Call: 1}, &wire.Note{Offload: 9, Attempt: 1, Call: 1}} {
		m("other_"+x.Type().String(), x.Type().String()+" of offload 9.1 in the midst of 1.1", func(s *stage) { s.send(x) })
	}
	// States at the beginning of a conversation, and after an attempt that failed.
	early := func(name string, spoil func(s *wire.SyncState)) {
		all = append(all, lie{name: "begins_" + name, line: broke + "it does not begin with the module's initial state", script: func(s *stage) {
			x := s.initial()
			spoil(x)
			s.send(x)
		}})
	}
	early("invented", func(s *wire.SyncState) { s.State[0]++ })
	early("zero", func(s *wire.SyncState) { s.State = wire.ID{} })
	early("written", func(s *wire.SyncState) { s.MemoryBytes, s.Written = 1<<16, []wire.Range{{First: 0, Count: 1}} })
	synced := func(name, line, reason string, answer func(s *stage)) {
		all = append(all, lie{name: "sync_" + name, line: broke + line, reason: reason, script: once(func(s *stage) {
			s.back(s.answer(5050))
			expect[*wire.Commit](s)
			s.migrate()
			answer(s)
		})})
	}
	again := func(spoil func(s *stage, x *wire.SyncState)) func(s *stage) {
		return func(s *stage) {
			s.migrate() // of the second call, which is refused
			s.send(s.refuse())
			expect[*wire.Sync](s)
			x := s.initial()
			spoil(s, x)
			s.send(x)
		}
	}
	// work is called twice, so that the second offload begins with a Sync.
	sync := func(name, line string, spoil func(s *stage, x *wire.SyncState)) {
		all = append(all, lie{name: "sync_" + name, function: "work", line: broke + line, reason: "distrust, refused", script: func(s *stage) {
			s.ready()
			again(spoil)(s)
		}})
	}
	sync("invented", "it stands at state", func(_ *stage, x *wire.SyncState) { x.State[0]++ })
	sync("uncommitted", "it stands at state", func(s *stage, x *wire.SyncState) { x.State = s.next })
	sync("beyond_memory", "it wrote pages beyond the memory", func(_ *stage, x *wire.SyncState) {
		x.MemoryBytes, x.Written = 4<<30, []wire.Range{{First: 0, Count: 1 << 20}}
	})
	sync("twice", "sync-state out of place", func(s *stage, x *wire.SyncState) { s.send(x) })
	// Old answers.
	synced("old_answer", "reintegrate of offload 1.1 in the midst of 2.1", "distrust", func(s *stage) { s.send(s.old); s.send(s.pages(s.old)...) })
	synced("old_state", "what came back is based on state", "distrust", func(s *stage) {
		r := *s.old
		r.Offload = s.m.Offload
		s.back(&r)
	})
	synced("old_delta", "receive pages of 2.1: state refused: delta of another state", "distrust", func(s *stage) {
		old := *s.old
		old.Offload = s.m.Offload
		s.send(s.answer(55))
		s.send(s.pages(&old)...)
	})
	all = append(all, lie{name: "after_merge", line: broke + "output of offload 1.1 in the midst of 2.1", reason: "distrust", script: once(func(s *stage) {
		s.back(s.answer(5050))
		s.output(hOut, "more")
	})})
	all = append(all, silences()...)
	return append(all, raws()...)
}

// silences are clones that do not answer.
func silences() []lie {
	quiet := func(name, reason, line string, script func(s *stage)) lie {
		return lie{name: "silent_" + name, reason: reason, line: line, script: script, limits: device.Limits{Silence: 60 * time.Millisecond}}
	}
	const line = "clone lost, going on without until there is another: "
	overdue := lie{name: "silent_overdue", overdue: true, reason: "overtaken", script: once((*stage).silence), function: "wide"}
	stops := lie{name: "silent_sync", function: "work", reason: "overtaken, silent", overdue: true,
		line: "the clone is silent: it does not stop a cancelled run", script: once((*stage).silence)}
	drips := quiet("but_pings", "silent", line, once(func(s *stage) { // heartbeats are no answer
		for {
			s.recv()
		}
	}))
	drips.peer = peer.Config{Heartbeat: 5 * time.Millisecond, Grace: time.Second}
	work := quiet("after_call", "silent", line, once(func(s *stage) { s.request(readIn) }))
	work.function = "work"
	return []lie{
		overdue, stops, drips, work,
		quiet("at_once", "silent", line, once(func(*stage) {})),
		quiet("in_pages", "silent", line, once(func(s *stage) {
			r := s.answer(5050)
			s.send(r, s.pages(r)[0])
		})),
		quiet("before_pages", "silent", line, once(func(s *stage) { s.send(s.answer(5050)) })),
	}
}

// raws are clones that break the rules of the conversation itself.
func raws() []lie {
	send := func(ctx context.Context, l link.Link, seq, ack uint64, m wire.Message) {
		if f, err := wire.Encode(seq, ack, m); err == nil {
			_ = l.Send(ctx, f)
		}
	}
	// greeted says welcome, takes the module and says that it is ready; then it has the link.
	greeted := func(then func(ctx context.Context, l link.Link, next func() (wire.Header, wire.Message))) func(context.Context, link.Link) {
		return func(ctx context.Context, l link.Link) {
			defer l.Close()
			next := func() (wire.Header, wire.Message) {
				f, err := l.Recv(ctx)
				if err != nil {
					return wire.Header{}, nil
				}
				h, m, _ := wire.Decode(f)
				return h, m
			}
			_, m := next()
			hello, ok := m.(*wire.Hello)
			if !ok || hello.Resume {
				return
			}
			send(ctx, l, 0, 0, &wire.Welcome{Version: wire.Version, Session: hello.Session, HaveModule: true})
			send(ctx, l, 1, 0, &wire.SyncState{State: migrate.InitialID(hello.Module)})
			then(ctx, l, next)
		}
	}
	offloaded := func(then func(ctx context.Context, l link.Link)) func(context.Context, link.Link) {
		return greeted(func(ctx context.Context, l link.Link, next func() (wire.Header, wire.Message)) {
			for h, m := next(); m == nil || m.Type() != wire.TypePagesEnd; h, m = next() {
				if h.Type == 0 {
					return
				}
			}
			then(ctx, l)
			for h, _ := next(); h.Type != 0; h, _ = next() {
			}
		})
	}
	broken := func(name, line string, then func(ctx context.Context, l link.Link)) lie {
		return lie{name: "raw_" + name, line: "going on without a clone: connection to the other side lost: " + line, reason: "distrust", raw: offloaded(then)}
	}
	body := func(t wire.Type, b string) []byte { // an honest frame with another body or type
		f, _ := wire.Encode(2, 0, &wire.Output{Offload: 1, Attempt: 1, Call: 1, Data: []byte(b)})
		return reframe(f, t, b)
	}
	return []lie{
		broken("garbage", "decode home-call", func(ctx context.Context, l link.Link) { _ = l.Send(ctx, body(wire.TypeHomeCall, "\xff\xff\xff")) }),
		broken("short", "decode output", func(ctx context.Context, l link.Link) { _ = l.Send(ctx, body(wire.TypeOutput, "short")) }),
		broken("empty", "decode reintegrate", func(ctx context.Context, l link.Link) { _ = l.Send(ctx, body(wire.TypeReintegrate, "")) }),
		broken("type", "open frame: type 99", func(ctx context.Context, l link.Link) { _ = l.Send(ctx, body(99, "x")) }),
		broken("unnumbered", "open frame: ping with sequence number 2", func(ctx context.Context, l link.Link) { _ = l.Send(ctx, body(wire.TypePing, "")) }),
		broken("ack", "receive sync: acknowledges 1000000", func(ctx context.Context, l link.Link) { send(ctx, l, 2, 1_000_000, &wire.Sync{}) }),
		{name: "raw_gap", line: "clone lost", reason: "link lost", raw: offloaded(func(ctx context.Context, l link.Link) { send(ctx, l, 99, 0, &wire.Sync{}) })},
		{name: "raw_damaged", line: "clone lost", reason: "link lost", raw: offloaded(func(ctx context.Context, l link.Link) { _ = l.Send(ctx, make([]byte, 1000)) })},
		{name: "raw_deaf", line: "the clone is silent: for", reason: "silent", limits: device.Limits{Silence: 60 * time.Millisecond},
			peer: peer.Config{Heartbeat: 10 * time.Millisecond, Grace: time.Second, Session: wire.SessionConfig{MaxFrames: 1}},
			raw: greeted(func(ctx context.Context, l link.Link, _ func() (wire.Header, wire.Message)) { // acknowledges nothing, and is alive
				for n := uint64(1); ctx.Err() == nil; n++ {
					f, _ := wire.Encode(0, 0, &wire.Ping{Stamp: n})
					if l.Send(ctx, f) != nil {
						return
					}
					time.Sleep(5 * time.Millisecond) // no waiting for a state: this is its pace
				}
			})},
		{name: "raw_no_welcome", wait: 100 * time.Millisecond, line: "no clone so far: await welcome", raw: func(ctx context.Context, l link.Link) { <-ctx.Done() },
			peer: peer.Config{Dead: 30 * time.Millisecond}},
		{name: "raw_wrong_welcome", line: "going on without a clone: await welcome", raw: func(ctx context.Context, l link.Link) { send(ctx, l, 0, 0, &wire.Pong{}) }},
		{name: "raw_refused", line: "going on without a clone: greet: refused: version: an old one", raw: func(ctx context.Context, l link.Link) {
			send(ctx, l, 0, 0, &wire.Bye{Code: wire.CodeVersion, Text: "an old one"})
		}},
	}
}

// farewells end the conversation at each point.
func farewells() []lie {
	var all []lie
	bye := func(name, reason string, script func(s *stage)) {
		c := lie{name: "bye_" + name, reason: reason, line: "clone lost, going on without until there is another", script: script}
		all = append(all, c)
	}
	work := func(name string, then func(s *stage)) {
		bye(name, "link lost", once(func(s *stage) { then(s); s.bye() }))
		all[len(all)-1].function = "work"
	}
	all = append(all, lie{name: "bye_before_ready", wait: 100 * time.Millisecond, line: "no clone so far: ", script: (*stage).bye})
	bye("migrate", "link lost", func(s *stage) { s.ready(); expect[*wire.Migrate](s); s.bye() })
	bye("pages", "link lost", func(s *stage) { s.ready(); expect[*wire.Pages](s); s.bye() })
	bye("entered", "link lost", once((*stage).bye))
	work("home_call", func(s *stage) { s.give(readIn) })
	work("home_result", func(s *stage) { s.request(readIn) })
	work("open", func(s *stage) {
		s.request(readIn)
		s.request(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: "in", Rights: wasi.RightRead})
	})
	bye("reintegrate", "link lost", once(func(s *stage) { s.send(s.answer(5050)); s.bye() }))
	bye("in_delta", "link lost", once(func(s *stage) { r := s.answer(5050); s.send(r, s.pages(r)[0]); s.bye() }))
	bye("second", "link lost", once(func(s *stage) { s.back(s.answer(5050)); s.migrate(); s.bye() }))
	// Whether the device notices before the second offload, during it or never is a matter of luck.
	bye("merged", "", once(func(s *stage) { s.back(s.answer(5050)); expect[*wire.Commit](s); s.bye() }))
	bye("merged_at_once", "", once(func(s *stage) { s.back(s.answer(5050)); s.bye() }))
	all[len(all)-1].luck, all[len(all)-2].luck = true, true
	return all
}
