package device_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

const wait = 10 * time.Second

// TestUploadLimit never sends more than it may.
func TestUploadLimit(t *testing.T) {
	const limit = 60_000
	i, o := load(t, &lie{script: honestly, limits: device.Limits{Upload: limit}})
	if !i.AwaitClone(t.Context(), wait) {
		t.Fatal("no clone")
	}
	pure(t, i)
	up, _ := i.Traffic()
	mem := i.Process().Mem.Bytes()
	_, _ = rand.NewChaCha8([32]byte{1}).Read(mem[4*linmem.PageSize : 28*linmem.PageSize]) // of a table that is only written
	pure(t, i)
	pure(t, i)
	r, err := i.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Functions[slices.IndexFunc(r.Functions, func(f device.FunctionReport) bool { return f.Name == "pure" })]
	if f.Offloads != 1 || f.Fallbacks["upload limit"] == 0 || f.Fallbacks["upload limit"]+f.Kept["upload limit"] != 2 {
		t.Errorf("%d offloads, fallbacks %v, kept %v", f.Offloads, f.Fallbacks, f.Kept)
	}
	if r.LinkUp > limit || r.LinkUp > up+1000 {
		t.Errorf("sent %d bytes, %d of them before the limit was met", r.LinkUp, up)
	}
	if len(o.log) > 0 {
		t.Errorf("log %q", o.log)
	}
}

// TestUploadLimitAnswers counts what is answered to a clone, too.
func TestUploadLimitAnswers(t *testing.T) {
	limit := uint64(len(guestWasm)) + 20_000
	served := 0
	c := lie{name: "answers", function: "work", reason: "upload limit", setup: func(cfg *runner.Config) { cfg.Limits.Upload = limit }, script: once(func(s *stage) {
		s.request(read8)
		fd := s.request(s.open("in"))
		for {
			s.call++
			s.send(s.homeCall(wasi.Request{Op: wasi.OpReadAt, Handle: fd.Handle, Size: 20, Buf: nil}))
			if s.recv().Type() == wire.TypeCancel {
				return
			}
			served++
		}
	})}
	got := play(t, &c)
	c.judge(t, play(t, nil), got)
	if got.report.LinkUp > limit || served < 10 {
		t.Errorf("sent %d bytes, the limit is %d; %d calls", got.report.LinkUp, limit, served)
	}
}

// TestUploadLimitModule does not even begin.
func TestUploadLimitModule(t *testing.T) {
	c := lie{name: "module", line: fmt.Sprintf("going on without a clone: no use trying again: the module has %d bytes, and 100 may be uploaded", len(guestWasm)),
		limits: device.Limits{Upload: 100}, script: func(s *stage) { s.recv() }}
	got := play(t, &c)
	c.judge(t, play(t, nil), got)
}

func warm(cfg *runner.Config) {
	cfg.Recall = func(wire.ID) *device.Known { return &device.Known{Engine: "liar", Arch: "wasm", Warm: true} }
}

// TestEarlyOffload sends the first offload before the node has answered, to nodes that are what they were, and others.
func TestEarlyOffload(t *testing.T) {
	want := play(t, nil)
	is := func(engine string) func(h *wire.Hello) (*wire.Welcome, error) {
		return func(h *wire.Hello) (*wire.Welcome, error) {
			return &wire.Welcome{Version: wire.Version, Session: h.Session, HaveModule: true, Engine: engine, Arch: "wasm"}, nil
		}
	}
	// A clone that adds wrong to what it computes. How far the guest is when it is found out is a matter of luck.
	answers := func(wrong uint64) func(s *stage) {
		return func(s *stage) {
			s.send(s.initial())
			for {
				s.migrate()
				n := s.m.Args[0]
				s.back(s.answer(n*(n+1)/2 + wrong))
			}
		}
	}
	for _, c := range []struct {
		lie
		merged int // -1: as many as it likes
	}{
		{lie{name: "warm", admit: is("liar"), script: answers(0), setup: warm}, 2},
		{lie{name: "cold", again: true, luck: true, setup: warm, admit: func(h *wire.Hello) (*wire.Welcome, error) {
			if h.Early {
				return nil, &peer.RefusedError{Code: wire.CodeUnknown, Text: "nothing here"}
			}
			return is("liar")(h)
		}, script: answers(0)}, -1},
		// What such a node computes must not count, however quick it is: the program may have been prepared for another.
		{lie{name: "changed", again: true, luck: true, setup: warm, admit: is("other"), script: func(s *stage) {
			if s.hello.Early {
				answers(1)(s)
			}
			answers(0)(s)
		}}, -1},
		{lie{name: "changed_alike", luck: true, setup: func(cfg *runner.Config) { warm(cfg); cfg.Alike = true }, admit: is("liar"), script: answers(1),
			line: "going on without a clone: connection to the other side lost: refused: unsupported: the cloud has become another (liar wasm)"}, 0},
		{lie{name: "stranger", reason: "distrust", setup: warm, admit: is("liar"), script: func(s *stage) { s.send(&wire.Sync{}) },
			line: broke + "sync before it is ready"}, 0},
		{lie{name: "lost", luck: true, wait: 100 * time.Millisecond, setup: warm, admit: is("liar"), script: func(s *stage) { s.end.Refuse(wire.CodeInternal, "no") },
			line: "clone lost, going on without until there is another"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := play(t, &c.lie)
			c.judge(t, want, got)
			if done, _ := got.report.Offloads(); c.merged >= 0 && done != c.merged {
				t.Errorf("%d merged, want %d\n%s", done, c.merged, strings.Join(got.trace(), "\n"))
			}
		})
	}
}
