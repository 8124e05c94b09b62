package clone_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

const unit = engine.PageSize

// TestMemoryLimit lets a guest grow beyond what the host allows: the call comes back, and the guest does not see -1,
// which it would not see on its device. What the module itself forbids it sees.
func TestMemoryLimit(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine.Engine) {
		r := newSmallRig(t, e)
		r.host.Limits.Memory = 20 * unit
		d := r.ready()
		d.answers(1, grow, 4, 8)                 // to 12
		d.answers(2, grow, 1000, 0xffffffff)     // beyond the module's maximum
		d.send(d.migrate(3, grow, d.base, 9)...) // to 21
		if why := d.handedBack(); !strings.Contains(why, engine.ErrMemory.Error()) {
			t.Errorf("handed back with %q", why)
		}
		if s := d.resync(); delta.ID(s.State) != d.base || s.MemoryBytes != 12*unit {
			t.Errorf("clone stands at %+v", s)
		}
		d.answers(4, grow, 8, 12) // to 20
		d.answers(5, echo, 7, 7)

		// A device that has more memory than is allowed here is told so.
		if err := d.proc.Grow(&wire.Image{MemoryBytes: 30 * unit}); err != nil {
			t.Fatal(err)
		}
		d.send(d.migrate(6, echo, d.base, 1)...)
		if f, ok := d.recv().(*wire.Refuse); !ok || f.Code != wire.CodeLimit {
			t.Errorf("answer %+v", f)
		}
	})
}

// TestMemoryMinimum: a module that begins with more than is allowed cannot run, which the device is told in words.
func TestMemoryMinimum(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine.Engine) {
		r := newSmallRig(t, e)
		r.host.Limits.Memory = 7 * unit
		d, _, err := r.dial(nil)
		if err != nil {
			t.Fatal(err)
		}
		d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
		b, ok := d.recv().(*wire.Bye)
		if !ok || b.Code != wire.CodeUnsupported || !strings.Contains(b.Text, "no room for 524288 bytes, the limit is 458752") {
			t.Errorf("answer %+v", b)
		}
	})
}

// TestExecLimit: an endless loop that polls is handed back, and the clone goes on.
func TestExecLimit(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine.Engine) {
		r := newSmallRig(t, e)
		r.host.Limits.Exec = 50 * time.Millisecond
		r.host.Stuck = func(what string, _ wire.ID) { t.Errorf("stuck in %s", what) }
		d := r.ready()
		d.answers(1, echo, 5, 5)
		d.send(d.migrate(2, spin, d.base, 1)...)
		if why := d.handedBack(); !strings.Contains(why, "limit of this node: an offload may run for 50ms") {
			t.Errorf("handed back with %q", why)
		}
		if s := d.resync(); delta.ID(s.State) != d.base {
			t.Errorf("clone stands at %+v", s)
		}
		d.answers(3, echo, 6, 6)
	})
}

// watched notes what a host says of its work.
type watched struct {
	mu    sync.Mutex
	begun []string
	open  map[string]int
	stuck []string
	at    time.Time // of the last stuck
}

func (w *watched) on(h *clone.Host) {
	w.open = map[string]int{}
	h.Watch = func(what string, module wire.ID, limit time.Duration) func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.begun = append(w.begun, fmt.Sprintf("%s %x %v", what, module[:4], limit))
		w.open[what]++
		return func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.open[what]--
		}
	}
	h.Stuck = func(what string, module wire.ID) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stuck = append(w.stuck, fmt.Sprintf("%s %x", what, module[:4]))
		w.at = time.Now()
	}
}

// told returns what was said to be stuck.
func (w *watched) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.stuck)
}

func (w *watched) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.begun)
}

// says checks what was begun, of module, and that all of it has ended.
func (w *watched) says(t *testing.T, module wire.ID, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range want {
		what, limit, _ := strings.Cut(want[i], " ")
		want[i] = fmt.Sprintf("%s %x %s", what, module[:4], limit)
	}
	if strings.Join(w.begun, ", ") != strings.Join(want, ", ") || w.open["compile"] != 0 || w.open["offload"] != 0 {
		t.Errorf("begun are %q, want %q; open are %v", w.begun, want, w.open)
	}
}

// TestWatch pairs each beginning with an end, however the work ends.
func TestWatch(t *testing.T) {
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	r := newSmallRig(t, eng)
	var w watched
	w.on(r.host)
	r.host.Limits.Compile, r.host.Limits.Exec = time.Minute, 50*time.Millisecond
	d := r.ready()
	w.says(t, r.hello.Module, "compile 1m0s")
	d.answers(1, echo, 5, 5)
	d.send(d.migrate(2, spin, d.base, 1)...)
	d.handedBack()
	d.resync()
	w.says(t, r.hello.Module, "compile 1m0s", "offload 50ms", "offload 50ms")
	if n := r.host.Stats(); n != (clone.Stats{Clones: 1}) {
		t.Errorf("stats %+v", n)
	}
	d.send(d.migrate(3, spin, d.base, 1)...)
	until(t, func() bool { return w.count() == 4 })
	d.end.Close() // in the midst of it
	until(t, func() bool { return r.host.Stats() == clone.Stats{} })
	w.says(t, r.hello.Module, "compile 1m0s", "offload 50ms", "offload 50ms", "offload 50ms")
	if len(w.told()) > 0 {
		t.Errorf("stuck: %q", w.told())
	}
}

// until waits for what other goroutines bring about.
func until(t *testing.T, there func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

// bubble runs f where time passes only while everything waits, with an engine whose code runs once hold is closed.
func bubble(t *testing.T, f func(t *testing.T, e *deaf)) {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e := &deaf{Engine: eng, hold: make(chan struct{})}
		defer func() {
			select {
			case <-e.hold:
			default:
				close(e.hold)
			}
		}()
		f(t, e)
	})
}

// TestStuck: of code that does not end when it is told to, the owner of the process hears a second later.
func TestStuck(t *testing.T) {
	bubble(t, func(t *testing.T, e *deaf) {
		r := newSmallRig(t, e)
		r.host.Limits.Exec = time.Hour
		var w watched
		w.on(r.host)
		d := r.ready()
		d.ctx = t.Context()
		d.send(d.migrate(1, echo, d.initial(), 5)...)
		begin := time.Now()
		time.Sleep(time.Hour + time.Second - time.Millisecond)
		synctest.Wait()
		if len(w.told()) > 0 || r.host.Stats().Running != 1 {
			t.Errorf("stuck: %q, stats %+v", w.told(), r.host.Stats())
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if want := fmt.Sprintf("offload %x", r.hello.Module[:4]); len(w.told()) != 1 || w.told()[0] != want || w.at.Sub(begin) != time.Hour+time.Second {
			t.Errorf("stuck: %q after %v", w.told(), w.at.Sub(begin))
		}
		close(e.hold) // it does end
		if why := d.handedBack(); !strings.Contains(why, "limit of this node") {
			t.Errorf("handed back with %q", why)
		}
		time.Sleep(time.Hour)
		if len(w.told()) != 1 || r.host.Stats().Running != 0 {
			t.Errorf("stuck: %q, stats %+v", w.told(), r.host.Stats())
		}
	})
}

// TestCompileStuck: likewise of compiling.
func TestCompileStuck(t *testing.T) {
	bubble(t, func(t *testing.T, e *deaf) {
		r := newSmallRig(t, e)
		e.n, e.made = 0, func(int) { <-e.hold }
		r.host.Limits.Compile = time.Minute
		var w watched
		w.on(r.host)
		d, _, err := r.dial(nil)
		if err != nil {
			t.Fatal(err)
		}
		d.ctx = t.Context()
		d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if len(w.told()) > 0 {
			t.Errorf("stuck: %q", w.told())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if want := fmt.Sprintf("compile %x", r.hello.Module[:4]); len(w.told()) != 1 || w.told()[0] != want {
			t.Errorf("stuck: %q", w.told())
		}
		close(e.hold)
		if s, ok := d.recv().(*wire.SyncState); !ok {
			t.Errorf("answer %+v", s)
		}
		w.says(t, r.hello.Module, "compile 1m0s")
	})
}

// TestWaitingIsFree: time in which the clone waits for its device is no guest time, but part of what Wall bounds.
func TestWaitingIsFree(t *testing.T) {
	for _, wall := range []bool{false, true} {
		bubble(t, func(t *testing.T, e *deaf) {
			close(e.hold)
			r := newRigWith(t, e)
			r.host.Limits.Exec, r.host.Limits.Wall = time.Minute, 24*time.Hour
			if wall {
				r.host.Limits.Wall = 90 * time.Minute
			}
			d := r.ready()
			d.ctx = t.Context()
			c := d.readFirst(1, d.initial())
			time.Sleep(2 * time.Hour)
			if wall {
				if why := d.handedBack(); !strings.Contains(why, "and 1h30m0s with all waiting") {
					t.Errorf("handed back with %q", why)
				}
				return
			}
			resp := wasi.Response{N: 2, Data: []byte("hi")}
			d.send(&wire.HomeResult{Offload: 1, Attempt: 1, Call: c.Call, Response: resp.AppendTo(nil)})
			for m := d.recv(); ; m = d.recv() {
				if a, ok := m.(*wire.Reintegrate); ok {
					if a.Outcome != wire.OutcomeResults || time.Duration(a.ExecNanos) > time.Minute {
						t.Errorf("answer %+v", a)
					}
					break
				}
			}
		})
	}
}

// TestOutputLimit hands back what writes more than is allowed, in few calls or in many.
func TestOutputLimit(t *testing.T) {
	r := newRig(t)
	r.host.Limits.Output = 8 // say writes 4 bytes and then more
	d := r.ready()
	d.send(d.migrate(1, say, d.initial(), 123)...) // "say 123\n"
	for m := d.recv(); ; m = d.recv() {
		if a, ok := m.(*wire.Reintegrate); ok {
			if a.Outcome != wire.OutcomeResults {
				t.Errorf("answer %+v", a)
			}
			d.base = d.staged(a)
			d.send(&wire.Commit{Offload: 1, Attempt: 1, State: wire.ID(d.base)})
			break
		}
	}
	d.send(d.migrate(2, say, d.base, 12345)...)
	if why := d.handedBack(); !strings.Contains(why, "limit of this node: output") {
		t.Errorf("handed back with %q", why)
	}
	d.resync()
	d.honest(3, d.base)
}

// TestClonesLimit: no more conversations than allowed, and an ended one makes room.
func TestClonesLimit(t *testing.T) {
	r := newRig(t)
	r.host.Limits.Clones = 2
	a := r.ready()
	r.ready()
	_, _, err := r.dial(nil)
	var refused *peer.RefusedError
	if !errors.As(err, &refused) || refused.Code != wire.CodeLimit || !strings.Contains(refused.Text, "2 clones") {
		t.Errorf("a third: %v", err)
	}
	// What is refused for another reason takes no place, and neither does a session that exists already.
	if _, _, err := r.dial(func(h *wire.Hello) { h.Code[0]++ }); err == nil {
		t.Error("another version was accepted")
	}
	a.end.Close()
	until(t, func() bool { return r.host.Stats().Clones == 1 })
	session := wire.Token{1}
	if _, _, err := r.dial(func(h *wire.Hello) { h.Session = session }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.dial(func(h *wire.Hello) { h.Session = session }); err == nil {
		t.Error("the same session twice")
	}
	if n := r.host.Stats().Clones; n != 2 {
		t.Errorf("%d clones, want 2", n)
	}
}

// TestDeny does not begin with what is not to run here.
func TestDeny(t *testing.T) {
	r := newRig(t)
	r.host.Deny = func(module wire.ID) string {
		if module == r.hello.Module {
			return "it took too long to compile"
		}
		return ""
	}
	_, _, err := r.dial(nil)
	var refused *peer.RefusedError
	if !errors.As(err, &refused) || refused.Code != wire.CodeUnsupported || refused.Text != "it took too long to compile" {
		t.Errorf("answer %v", err)
	}
	if n := r.host.Stats(); n != (clone.Stats{}) {
		t.Errorf("stats %+v", n)
	}
}

// emptyRead is the answer to a read at the end of a file.
func emptyRead() []byte { return (&wasi.Response{}).AppendTo(nil) }
