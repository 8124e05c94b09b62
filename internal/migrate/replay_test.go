package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// world is a System that answers each call with its number, and remembers what it did.
type world struct{ did []string }

func (w *world) Do(_ context.Context, req *wasi.Request, resp *wasi.Response) error {
	if req.Op == wasi.OpSetSize {
		return errors.New("broken")
	}
	w.did = append(w.did, describe(req))
	resp.Value = uint64(len(w.did))
	switch req.Op {
	case wasi.OpRead, wasi.OpReadAt:
		resp.N = uint64(copy(req.Buf, "input"))
	case wasi.OpOutput, wasi.OpWrite:
		resp.N = uint64(len(req.Data))
	}
	return nil
}

func describe(req *wasi.Request) string { return fmt.Sprintf("%v %d %s", req.Op, req.Handle, req.Data) }

// calls of the tests: those in the first line have an effect.
var calls = map[string]wasi.Request{
	"print": {Op: wasi.OpOutput, Handle: 2, Data: []byte("hello")}, "print2": {Op: wasi.OpOutput, Handle: 2, Data: []byte("bye")},
	"stdin": {Op: wasi.OpRead, Handle: 1, Size: 5}, "mkdir": {Op: wasi.OpMkdir, Handle: 4}, "host": {Op: OpHost, Path: "a", Path2: "b"},
	"stat": {Op: wasi.OpStat, Handle: 4}, "pread": {Op: wasi.OpReadAt, Handle: 5, Size: 5}, "clock": {Op: wasi.OpClockTime, Monotonic: 9},
	"nothing": {Op: wasi.OpOutput, Handle: 2}, "close": {Op: wasi.OpClose, Handle: 5}, "fail": {Op: wasi.OpSetSize},
}

// request makes the request that the guest would.
func request(name string) *wasi.Request {
	r := calls[name]
	if r.Size > 0 {
		r.Buf = make([]byte, r.Size)
	}
	return &r
}

func TestReplayer(t *testing.T) {
	for _, c := range []struct {
		name         string
		clone, guest string // calls that the clone made, and that the run here makes
		real         string // those of the latter that reach the world
		forgot       int
		diverged     bool
	}{
		{name: "nothing", clone: "", guest: "print stat", real: "print stat"},
		{name: "same", clone: "print stat stdin clock", guest: "print stat stdin clock", real: ""},
		{name: "goes_on", clone: "print stat", guest: "print stat print2 mkdir", real: "print2 mkdir"},
		{name: "close", clone: "print stat", guest: "print close stat close", real: "close close"},
		{name: "operation", clone: "print", guest: "mkdir", diverged: true},
		{name: "input", clone: "print", guest: "print2", diverged: true},
		{name: "second", clone: "stat print", guest: "stat print2", diverged: true},
		{name: "early_end", clone: "print print2", guest: "print", diverged: true},
		{name: "never_begins", clone: "host", guest: "", diverged: true},
		{name: "read_not_repeated", clone: "stdin", guest: "print", diverged: true},
		{name: "harmless", clone: "stat clock pread", guest: "print", real: "print", forgot: 3},
		{name: "harmless_end", clone: "print stat clock", guest: "print", forgot: 2},
		{name: "harmless_before", clone: "stat stat print", guest: "print print2", real: "print2", forgot: 2},
		{name: "harmless_between", clone: "print clock stat stdin", guest: "print stat stdin mkdir", real: "mkdir", forgot: 1},
		{name: "harmless_then_effect", clone: "stat print", guest: "mkdir", forgot: 1, diverged: true},
		{name: "left_out", clone: "print2", guest: "stat print2", diverged: true}, // stat would see what comes after it
		{name: "no_bytes", clone: "nothing", guest: "print", real: "print", forgot: 1},
		{name: "more_after", clone: "pread clock", guest: "clock pread", real: "pread", forgot: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			j := NewJournal(JournalConfig{Memory: 60, Dir: t.TempDir()})
			for name := range strings.FieldsSeq(c.clone) {
				req, resp := request(name), wasi.Response{}
				if err := wasi.Serve(t.Context(), w, req, &resp); err != nil {
					t.Fatal(err)
				}
				if err := j.Append(Entry{req.Op, Effect(req, &resp), req.Digest(), resp.AppendTo(nil)}); err != nil {
					t.Fatal(err)
				}
			}
			before := w.did
			w.did = nil
			r := &Replayer{Real: w}
			r.Begin(j)
			if r.Replaying() != (c.clone != "") {
				t.Errorf("replaying %v", r.Replaying())
			}
			var err error
			i := 0
			for name := range strings.FieldsSeq(c.guest) {
				req, resp := request(name), wasi.Response{}
				if err = r.Do(t.Context(), req, &resp); err != nil {
					break
				}
				if string(req.Buf) != "input"[:len(req.Buf)] {
					t.Errorf("%s read %q", name, req.Buf)
				}
				if c.forgot == 0 && c.real == "" && i < len(before) && resp.Value != uint64(i+1) {
					t.Errorf("%s is answered %d, want %d", name, resp.Value, i+1)
				}
				i++
			}
			if err == nil {
				err = r.End()
			}
			if errors.Is(err, ErrDiverged) != c.diverged || !c.diverged && err != nil {
				t.Errorf("end: %v, want divergence %v", err, c.diverged)
			}
			var real []string
			for name := range strings.FieldsSeq(c.real) {
				real = append(real, describe(request(name)))
			}
			if d := cmp.Diff(real, w.did); d != "" {
				t.Errorf("reached the world: %s", d)
			}
			if r.Forgot() != c.forgot || r.Replaying() {
				t.Errorf("forgot %d entries, want %d; replaying %v", r.Forgot(), c.forgot, r.Replaying())
			}
		})
	}
}

// TestReplayerErrors: a journal that cannot be read, or holds no answers, ends the run.
func TestReplayerErrors(t *testing.T) {
	req := request("stat")
	good := (&wasi.Response{}).AppendTo(nil)
	for _, c := range []struct {
		name     string
		response []byte
		damage   bool
	}{{"no_response", nil, false}, {"response", append(good, 1), false}, {"journal", good, true}} {
		t.Run(c.name, func(t *testing.T) {
			j := NewJournal(JournalConfig{Memory: 1, Dir: t.TempDir()})
			defer j.Close()
			for range 3 {
				if err := j.Append(Entry{Op: req.Op, Digest: req.Digest(), Response: c.response}); err != nil {
					t.Fatal(err)
				}
			}
			if c.damage {
				if err := j.file.Truncate(3); err != nil {
					t.Fatal(err)
				}
			}
			r := &Replayer{Real: &world{}}
			r.Begin(j)
			if err := r.Do(t.Context(), req, &wasi.Response{}); err == nil || errors.Is(err, ErrDiverged) {
				t.Errorf("error %v", err)
			}
		})
	}
	r := &Replayer{Real: &world{}}
	if err := r.Do(t.Context(), request("fail"), &wasi.Response{}); err == nil || err.Error() != "broken" {
		t.Errorf("error %v, want the world's", err)
	}
}

// TestEffect names what may be forgotten; all else, and all that is new, may not.
func TestEffect(t *testing.T) {
	none := map[wasi.Op]bool{
		wasi.OpClockTime: true, wasi.OpSleep: true, wasi.OpPoll: true, wasi.OpReadAt: true, wasi.OpStat: true, wasi.OpStatPath: true,
		wasi.OpReadDir: true, wasi.OpReadlink: true, wasi.OpSync: true, wasi.OpOpen: true,
	}
	for op := wasi.OpNone + 1; op < wasi.NumOps; op++ {
		if got := Effect(&wasi.Request{Op: op}, &wasi.Response{N: 1}); got == none[op] {
			t.Errorf("%v has an effect: %v", op, got)
		}
		if Effect(&wasi.Request{Op: op}, &wasi.Response{Errno: vfs.EIO}) {
			t.Errorf("%v has an effect though it failed", op)
		}
	}
	for _, flag := range []uint64{wasi.FlagCreate, wasi.FlagTruncate} {
		if !Effect(&wasi.Request{Op: wasi.OpOpen, Flags: flag | wasi.FlagFollow}, &wasi.Response{}) {
			t.Errorf("open with flags %#x has no effect", flag)
		}
	}
	if !Effect(&wasi.Request{Op: OpHost}, &wasi.Response{Errno: vfs.EIO}) {
		t.Error("a host function has no effect")
	}
}
