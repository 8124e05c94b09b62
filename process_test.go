package clonecloud_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud"
)

// start loads a module and starts a process of it, which the test ends. functions are forced onto a clone; without any
// there is no cloud.
func start(t *testing.T, cfg clonecloud.Config, functions ...string) *clonecloud.Process {
	t.Helper()
	p, err := load(t, cfg, functions...).Start(t.Context(), clonecloud.StartConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func load(t *testing.T, cfg clonecloud.Config, functions ...string) *clonecloud.Program {
	t.Helper()
	if len(functions) > 0 {
		cfg.Cloud = clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
		cfg.Offload, cfg.Functions = clonecloud.OffloadListed, functions
	}
	p, err := clonecloud.Load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if cfg.Cloud != nil {
			if err := cfg.Cloud.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// call calls an export that has a result and must not fail.
func call(t *testing.T, p *clonecloud.Process, export string, args ...uint64) uint64 {
	t.Helper()
	r, err := p.Call(t.Context(), export, args...)
	if err != nil || len(r) != 1 {
		t.Fatalf("%s%v gives %v, %v", export, args, r, err)
	}
	return r[0]
}

func offloads(t *testing.T, p *clonecloud.Process) int {
	t.Helper()
	r, err := p.Report()
	if err != nil {
		t.Fatal(err)
	}
	n, failed := r.Offloads()
	if failed > 0 {
		t.Errorf("%d fallbacks: %+v", failed, r.Functions)
	}
	return n
}

func sum(b []byte, rounds int) uint64 {
	h := fnv.New32a()
	for range rounds {
		h.Write(b)
	}
	return uint64(h.Sum32())
}

// TestWriteTravels: what the application writes into the memory is there on the clone, and what the clone writes is there
// afterwards, offload after offload.
func TestWriteTravels(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")}, "hash", "upper")
	room := uint32(call(t, p, "room"))
	text := []byte(strings.Repeat("a clone reads what the application writes. ", 300)) // of several pages
	for round := range 4 {
		text[round*4096] = byte('k' + round) // a byte in a page that the clone has already
		if err := p.Write(room, text); err != nil {
			t.Fatal(err)
		}
		if got, want := call(t, p, "hash", uint64(len(text)), 3), sum(text, 3); got != want {
			t.Errorf("round %d: hash %08x, want %08x", round, got, want)
		}
		if _, err := p.Call(t.Context(), "upper", uint64(len(text))); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if err := p.Read(room, got); err != nil || !bytes.Equal(got, bytes.ToUpper(text)) {
			t.Errorf("round %d: the clone left %.40q, %v", round, got, err)
		}
	}
	if n := offloads(t, p); n != 8 {
		t.Errorf("%d offloads", n)
	}
}

func TestMemoryBounds(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")})
	size, err := p.MemorySize()
	if err != nil || size == 0 || size%65536 != 0 {
		t.Fatalf("size %d, %v", size, err)
	}
	for _, c := range []struct {
		addr uint32
		n    int
		ok   bool
	}{
		{0, 0, true}, {0, int(size), true}, {uint32(size), 0, true}, {uint32(size) - 1, 1, true},
		{uint32(size), 1, false}, {1, int(size), false}, {1<<32 - 1, 1, false}, {1<<32 - 1, 0, false}, {0, int(size) + 1, false},
	} {
		for name, f := range map[string]func(uint32, []byte) error{"read": p.Read, "write": p.Write} {
			if err := f(c.addr, make([]byte, c.n)); (err == nil) != c.ok || !c.ok && !errors.Is(err, clonecloud.ErrBounds) {
				t.Errorf("%s %d bytes at %d: %v", name, c.n, c.addr, err)
			}
		}
	}
}

// uses are all ways to use a process.
func uses(p *clonecloud.Process) map[string]func() error {
	ctx := context.Background()
	return map[string]func() error{
		"call":  func() error { _, err := p.Call(ctx, "count"); return err },
		"go":    func() error { _, err := p.Go(ctx, "count").Wait(ctx); return err },
		"main":  func() error { return p.Main(ctx) },
		"read":  func() error { return p.Read(0, make([]byte, 1)) },
		"write": func() error { return p.Write(0, make([]byte, 1)) },
		"size":  func() error { _, err := p.MemorySize(); return err },
	}
}

// TestBusy: while a clone is at work everything else is refused at once, and Close ends the call.
func TestBusy(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")}, "forever")
	c := p.Go(t.Context(), "forever")
	all := uses(p)
	all["report"] = func() error { _, err := p.Report(); return err }
	for range 20 {
		for name, use := range all {
			begin := time.Now()
			if err := use(); err != clonecloud.ErrBusy {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begin); took > 10*time.Second { // at once, but for a busy machine
				t.Errorf("%s waits for %v", name, took)
			}
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting gives %v", err)
	}
	select {
	case <-c.Done():
		t.Error("done though it is not")
	default:
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if _, err := c.Wait(t.Context()); !errors.Is(err, clonecloud.ErrEnded) || !errors.Is(err, context.Canceled) {
		t.Errorf("the call ends with %v", err)
	}
	for name, use := range uses(p) {
		if err := use(); !errors.Is(err, clonecloud.ErrEnded) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if r, err := p.Report(); err != nil || len(r.Functions) == 0 {
		t.Errorf("report %+v, %v", r, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestEnded: how a process has ended is told to whoever uses it later.
func TestEnded(t *testing.T) {
	for _, onClone := range []bool{false, true} {
		t.Run(fmt.Sprint("clone=", onClone), func(t *testing.T) {
			var functions []string
			if onClone {
				functions = []string{"fail"}
			}
			p := start(t, clonecloud.Config{Module: wasm("plugin")}, functions...)
			_, err := p.Call(t.Context(), "fail")
			var trap *clonecloud.Trap
			if !errors.As(err, &trap) {
				t.Fatalf("fail gives %v", err)
			}
			for name, use := range uses(p) {
				trap = nil
				if err := use(); !errors.Is(err, clonecloud.ErrEnded) || !errors.As(err, &trap) {
					t.Errorf("%s gives %v", name, err)
				}
			}
			if r, err := p.Report(); err != nil || r.Wall == 0 {
				t.Errorf("report %+v, %v", r, err)
			} else if n, _ := r.Offloads(); (n == 1) != onClone {
				t.Errorf("%d offloads", n)
			}
		})
	}
}

// TestCallFaults: a call that cannot be made changes nothing.
func TestCallFaults(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")})
	ctx := t.Context()
	for name, err := range map[string]error{
		`no function "nothing"`: second(p.Call(ctx, "nothing")),
		`no function "memory"`:  second(p.Call(ctx, "memory")),
		"takes 2 arguments":     second(p.Call(ctx, "hash", 1)),
		"no function _start":    p.Main(ctx),
	} {
		if !errors.Is(err, clonecloud.ErrInvoke) || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want it to mention %q", err, name)
		}
	}
	gone := errors.New("gone")
	ended, cancel := context.WithCancelCause(ctx)
	cancel(gone)
	if _, err := p.Call(ended, "count"); err != gone {
		t.Errorf("a call that is cancelled before gives %v", err)
	}
	if n := call(t, p, "count"); n != 101 {
		t.Errorf("count is %d", n)
	}
}

func second[T any](_ T, err error) error { return err }

// TestCancelOffload: a call in the midst of an offload whose clone computes for ever ends with its context, soon.
func TestCancelOffload(t *testing.T) {
	const limit = time.Second // until when a busy machine must have begun the call
	cause := errors.New("had enough")
	for name, cancelled := range map[string]func(away <-chan struct{}) (context.Context, context.CancelFunc){
		"timeout": func(<-chan struct{}) (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), limit)
		},
		"cause": func(away <-chan struct{}) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-away
				cancel(cause)
			}()
			return ctx, func() { cancel(nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			away := make(chan struct{})
			p := start(t, clonecloud.Config{Module: wasm("plugin"), Events: func(e clonecloud.Event) {
				if e.Kind == "sent" && e.Function == "forever" {
					close(away)
				}
			}}, "forever", "count")
			call(t, p, "count") // the clone is ready from here on
			ctx, cancel := cancelled(away)
			defer cancel()
			begin := time.Now()
			_, err := p.Call(ctx, "forever")
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if !errors.Is(err, context.Cause(ctx)) || !errors.Is(err, ctx.Err()) {
				t.Errorf("error %v, want one that wraps %v", err, context.Cause(ctx))
			}
			if _, err := p.Call(t.Context(), "count"); !errors.Is(err, clonecloud.ErrEnded) || !errors.Is(err, context.Cause(ctx)) {
				t.Errorf("afterwards: %v", err)
			}
			r, err := p.Report()
			if err != nil {
				t.Fatal(err)
			}
			if done, fallbacks := r.Offloads(); done != 1 || fallbacks != 0 {
				t.Errorf("%d offloads and %d fallbacks", done, fallbacks)
			}
			select {
			case <-away:
			default:
				t.Error("it was not on the clone")
			}
		})
	}
}

// TestCancelHere: a call that computes on the device can be cancelled if the program is interruptible.
func TestCancelHere(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin"), Interruptible: true, Engine: clonecloud.EngineInterpreter})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Call(ctx, "forever"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestMany: processes of one program at once have memories and clones of their own.
func TestMany(t *testing.T) {
	program := load(t, clonecloud.Config{Module: wasm("plugin")}, "hash", "count")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p, err := program.Start(t.Context(), clonecloud.StartConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			room, err := p.Call(t.Context(), "room")
			text := bytes.Repeat([]byte{byte('a' + i)}, 10_000)
			if err := errors.Join(err, p.Write(uint32(room[0]), text)); err != nil {
				t.Error(err)
				return
			}
			for n := range uint64(5) {
				got, err := p.Call(t.Context(), "hash", uint64(len(text)), 2)
				if err != nil || got[0] != sum(text, 2) {
					t.Errorf("process %d: hash %v, %v", i, got, err)
				}
				if got, err := p.Call(t.Context(), "count"); err != nil || got[0] != 101+n {
					t.Errorf("process %d: count %v, %v", i, got, err)
				}
			}
			if n := offloads(t, p); n != 10 {
				t.Errorf("process %d: %d offloads", i, n)
			}
			if i%2 == 0 {
				p.Close() // the others are closed with the program
			}
		})
	}
	wg.Wait()
}

// TestProgramClose ends processes that are busy, and refuses new ones.
func TestProgramClose(t *testing.T) {
	program := load(t, clonecloud.Config{Module: wasm("plugin")}, "forever")
	var calls []*clonecloud.Call
	for range 3 {
		p, err := program.Start(t.Context(), clonecloud.StartConfig{})
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, p.Go(t.Context(), "forever"))
	}
	if err := program.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range calls {
		if _, err := c.Wait(t.Context()); !errors.Is(err, clonecloud.ErrEnded) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := program.Start(t.Context(), clonecloud.StartConfig{}); !errors.Is(err, clonecloud.ErrEnded) {
		t.Errorf("error %v", err)
	}
}

// TestProcessMain runs programs of one module, each with arguments and streams of its own.
func TestProcessMain(t *testing.T) {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	var shared bytes.Buffer
	program := load(t, clonecloud.Config{Module: module, Args: []string{"guest", "args", "of", "all"}, Stdout: &shared}, "work")
	run := func(sc clonecloud.StartConfig) error {
		p, err := program.Start(t.Context(), sc)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		err = p.Main(t.Context())
		if again := p.Main(t.Context()); !errors.Is(again, clonecloud.ErrEnded) {
			t.Errorf("a second time: %v", again)
		}
		return err
	}
	if err := run(clonecloud.StartConfig{}); err != nil || shared.String() != "guest\nargs\nof\nall\n" {
		t.Errorf("printed %q, %v", &shared, err)
	}
	var own bytes.Buffer
	if err := run(clonecloud.StartConfig{Args: []string{"guest", "work", "10"}, Stdout: &own}); err != nil || own.Len() == 0 {
		t.Errorf("printed %q, %v", &own, err)
	}
	var exit *clonecloud.ExitError
	if err := run(clonecloud.StartConfig{Args: []string{"guest", "exit", "7"}, Stderr: io.Discard}); !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("error %v", err)
	}
	if err := run(clonecloud.StartConfig{Args: []string{"guest", "exit", "0"}}); err != nil {
		t.Errorf("error %v", err)
	}
	if _, err := program.Start(t.Context(), clonecloud.StartConfig{Args: []string{"a\x00b"}}); !errors.Is(err, clonecloud.ErrConfig) {
		t.Errorf("error %v", err)
	}
	if _, err := program.Start(t.Context(), clonecloud.StartConfig{Mounts: []clonecloud.Mount{{Host: "/no/such"}}}); !errors.Is(err, clonecloud.ErrConfig) {
		t.Errorf("error %v", err)
	}
	if _, err := clonecloud.Load(t.Context(), clonecloud.Config{Module: module, Invoke: "add"}); !errors.Is(err, clonecloud.ErrConfig) {
		t.Errorf("error %v", err)
	}
}

// TestInitialized: a library has been initialised when its process is there, whatever is used of it first.
func TestInitialized(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")})
	size, err := p.MemorySize()
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, size)
	if err := p.Read(0, memory); err != nil || !bytes.Contains(memory, []byte{100, 0, 0, 0}) {
		t.Errorf("the count does not stand at 100 in its memory: %v", err)
	}
	if n := call(t, p, "count"); n != 101 {
		t.Errorf("count is %d", n)
	}
}

// TestReportTimes: the time between calls is not the guest's.
func TestReportTimes(t *testing.T) {
	p := start(t, clonecloud.Config{Module: wasm("plugin")})
	call(t, p, "count")
	time.Sleep(200 * time.Millisecond)
	call(t, p, "count")
	r, err := p.Report()
	if err != nil || r.Device > r.Wall-200*time.Millisecond {
		t.Errorf("%v on the device of %v, %v", r.Device, r.Wall, err)
	}
}
