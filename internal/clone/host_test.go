package clone_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Functions of the guest, which is shared with package device, and their ids as candidates.
var candidates = []uint32{8, 10, 13} // pure, say, work

const (
	pure = iota
	say
	work
)

var interpreter = sync.OnceValues(func() (engine.Engine, error) { return wazero.New(wazero.Options{Mode: wazero.Interpreter}) })

// rig is a host and a device's process to be moved to it.
type rig struct {
	t     *testing.T
	host  *clone.Host
	bin   []byte
	proc  *migrate.Process
	hello wire.Hello
	log   *bytes.Buffer
	store modules
}

func newRig(t *testing.T) *rig {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	return newRigWith(t, eng)
}

func newRigWith(t *testing.T, eng engine.Engine) *rig {
	t.Helper()
	bin, err := os.ReadFile("../device/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return newRigOf(t, eng, bin, candidates, wire.OptionPoll)
}

// newRigOf is newRig for another guest.
func newRigOf(t *testing.T, eng engine.Engine, bin []byte, candidates []uint32, options wire.Options) *rig {
	t.Helper()
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	id := migrate.Identity(bin)
	prog, err := migrate.Prepare(ctx, eng, id, m, rewrite.Options{Candidates: candidates, Wrap: true})
	if err != nil {
		t.Fatal(err)
	}
	hosts := migrate.Hosts{"host": {"mul": {Call: func(context.Context, *migrate.HostCall) error { return nil }}}}
	hooks := map[string]engine.HostFunc{}
	nothing := func(context.Context, engine.Instance, []uint64) error { return nil }
	i32 := []byte{engine.I32}
	hooks[rewrite.ImportEnter] = engine.HostFunc{Params: i32, Results: i32, Call: nothing}
	hooks[rewrite.ImportLeave] = engine.HostFunc{Params: i32, Call: nothing}
	for _, c := range prog.Manifest.Candidates {
		hooks[c.Call] = engine.HostFunc{Params: c.Params, Results: append(append([]byte{}, c.Results...), engine.I32), Call: nothing}
	}
	w := &wasi.Process{State: wasi.NewState([]string{"guest"}, nil, [32]byte{1})}
	w.State.Insert(&wasi.FD{Handle: 1, Kind: wasi.KindStream, Base: wasi.StreamRights})
	w.State.Insert(&wasi.FD{Handle: 2, Kind: wasi.KindOutput, Base: wasi.StreamRights})
	proc, err := prog.Start(ctx, migrate.Linkage{WASI: w, Hooks: hooks, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := &rig{t: t, bin: bin, proc: proc, log: &log, store: modules{}}
	r.hello = wire.Hello{Version: wire.Version, Module: id, Code: migrate.CloneCode(id, candidates, options, nil), Options: options, Candidates: candidates}
	r.host = &clone.Host{Engines: []engine.Engine{eng}, Limits: clone.Limits{Module: 1 << 20}, Store: r.store}
	t.Cleanup(func() {
		if err := errors.Join(r.host.Close(ctx), proc.Inst.Close(ctx), prog.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return r
}

// modules is a Store that a test can look into between conversations.
type modules map[wire.ID][]byte

func (m modules) Has(id wire.ID) bool { return m[id] != nil }

func (m modules) Load(id wire.ID) ([]byte, error) {
	if bin := m[id]; bin != nil {
		return bin, nil
	}
	return nil, fs.ErrNotExist
}

func (m modules) Save(id wire.ID, bin []byte) error {
	m[id] = bin
	return nil
}

// device is a conversation with a clone.
type device struct {
	*rig
	end  *peer.Endpoint
	ctx  context.Context
	base delta.ID // of answers; zero: the initial state
}

// dial begins a conversation; hello may be spoiled.
func (r *rig) dial(spoil func(h *wire.Hello)) (*device, *wire.Welcome, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	r.t.Cleanup(cancel)
	hello := r.hello
	rand.Read(hello.Session[:])
	if spoil != nil {
		spoil(&hello)
	}
	end, w, err := peer.Dial(ctx, func(context.Context) (link.Link, error) {
		here, there := link.Pipe(0)
		go func() { _ = r.host.Accept(context.Background(), there) }()
		return here, nil
	}, hello, peer.Config{})
	if err != nil {
		return nil, nil, err
	}
	r.t.Cleanup(func() { end.Close() })
	return &device{rig: r, end: end, ctx: ctx}, w, nil
}

// ready has a clone made ready.
func (r *rig) ready() *device {
	r.t.Helper()
	d, w, err := r.dial(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if !w.HaveModule {
		d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
	}
	s, ok := d.recv().(*wire.SyncState)
	if !ok || s.State != wire.ID(migrate.InitialID(r.hello.Module)) || len(s.Written) > 0 || s.MemoryBytes != r.proc.MemBytes() {
		r.t.Fatalf("clone is ready with %+v", s)
	}
	return d
}

func (d *device) send(ms ...wire.Message) {
	d.t.Helper()
	for _, m := range ms {
		if err := d.end.Send(d.ctx, m); err != nil && !errors.Is(err, peer.ErrLost) {
			d.t.Fatalf("send %v: %v", m.Type(), err)
		}
	}
}

// recv returns the next message; a Bye in place of the end.
func (d *device) recv() wire.Message {
	d.t.Helper()
	m, err := d.end.Recv(d.ctx)
	var refused *peer.RefusedError
	if errors.As(err, &refused) {
		return &wire.Bye{Code: refused.Code, Text: refused.Text}
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

// migrate is an honest offload from a state.
func (d *device) migrate(offload uint64, candidate uint32, base delta.ID, args ...uint64) []wire.Message {
	d.t.Helper()
	img, err := d.proc.Capture(d.ctx, base)
	if err != nil {
		d.t.Fatal(err)
	}
	ms := []wire.Message{&wire.Migrate{Offload: offload, Attempt: 1, Candidate: candidate, Continuation: wire.ContinuationCall, Args: args, Image: *img}}
	pages := &linmem.PageSet{}
	pages.Add(31) // one that no guest uses
	d.proc.Mem.Bytes()[31*delta.PageSize] = byte(offload)
	_, _, err = migrate.SendPages(d.proc, migrate.Attempt{Offload: offload, Number: 1}, img, pages, delta.Options{}, func(m wire.Message) error {
		if p, ok := m.(*wire.Pages); ok {
			m = &wire.Pages{Offload: p.Offload, Attempt: p.Attempt, Data: bytes.Clone(p.Data)}
		}
		ms = append(ms, m)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return ms
}

func (d *device) initial() delta.ID { return migrate.InitialID(d.hello.Module) }

// staged receives the pages behind an answer, and returns the state that they lead to.
func (d *device) staged(r *wire.Reintegrate) delta.ID {
	d.t.Helper()
	mem := d.proc.Mem.Bytes()
	s, err := migrate.Stage(migrate.Attempt{Offload: r.Offload, Number: r.Attempt}, &r.Image, delta.Limits{Base: func(p uint32) []byte {
		return mem[uint64(p)*delta.PageSize:][:delta.PageSize]
	}}, func() (wire.Message, error) { return d.recv(), nil })
	if err != nil {
		d.t.Fatal(err)
	}
	s.Apply(mem)
	return s.Next
}

// honest runs pure on the clone and commits.
func (d *device) honest(offload uint64, base delta.ID) delta.ID {
	d.t.Helper()
	d.send(d.migrate(offload, pure, base, 100)...)
	r, ok := d.recv().(*wire.Reintegrate)
	if !ok || r.Outcome != wire.OutcomeResults || len(r.Results) != 1 || r.Results[0] != 5050 || r.Calls != 0 {
		d.t.Fatalf("answer is %+v", r)
	}
	next := d.staged(r)
	d.send(&wire.Commit{Offload: offload, Attempt: 1, State: next})
	return next
}

// TestHonest runs offloads that follow one another, over two conversations.
func TestHonest(t *testing.T) {
	r := newRig(t)
	for range 2 {
		clear(r.proc.Mem.Bytes()[31*delta.PageSize:])
		d := r.ready()
		state := d.honest(1, d.initial())
		state = d.honest(2, state)
		d.send(&wire.Sync{})
		if s, ok := d.recv().(*wire.SyncState); !ok || delta.ID(s.State) != state || len(s.Written) > 0 {
			t.Errorf("clone stands at %+v, want %v", s, state)
		}
		d.end.Close()
	}
	if len(r.store) != 1 {
		t.Errorf("%d modules", len(r.store))
	}
}

// TestHello refuses what is not meant for this host.
func TestHello(t *testing.T) {
	r := newRig(t)
	for name, spoil := range map[string]func(h *wire.Hello){
		"code":       func(h *wire.Hello) { h.Code[0]++ },
		"module":     func(h *wire.Hello) { h.Module[0]++ },
		"candidates": func(h *wire.Hello) { h.Candidates = h.Candidates[:1] },
		"options":    func(h *wire.Hello) { h.Options = 0 },
		"version":    func(h *wire.Hello) { h.Version++ },
	} {
		_, _, err := r.dial(spoil)
		var refused *peer.RefusedError
		if !errors.As(err, &refused) || refused.Code != wire.CodeVersion {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUpload sends modules that are not what hello named.
func TestUpload(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces func(bin []byte) []wire.Message
		code   wire.Code
	}{
		{"other", func(b []byte) []wire.Message {
			b = bytes.Clone(b)
			b[20]++
			return []wire.Message{&wire.Module{Total: uint64(len(b)), Data: b}}
		}, wire.CodeProtocol},
		{"large", func(b []byte) []wire.Message { return []wire.Message{&wire.Module{Total: 2 << 20, Data: b}} }, wire.CodeUnsupported},
		{"gap", func(b []byte) []wire.Message {
			return []wire.Message{&wire.Module{Total: 1000, Offset: 1, Data: b[:10]}}
		}, wire.CodeProtocol},
		{"again", func(b []byte) []wire.Message {
			p := &wire.Module{Total: 1000, Data: b[:10]}
			return []wire.Message{p, p}
		}, wire.CodeProtocol},
		{"total", func(b []byte) []wire.Message {
			return []wire.Message{&wire.Module{Total: 1000, Data: b[:10]}, &wire.Module{Total: 15, Offset: 10, Data: b[10:15]}}
		}, wire.CodeProtocol},
		{"stranger", func([]byte) []wire.Message { return []wire.Message{&wire.Sync{}} }, wire.CodeProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			d, _, err := r.dial(nil)
			if err != nil {
				t.Fatal(err)
			}
			d.send(c.pieces(r.bin)...)
			if b, ok := d.recv().(*wire.Bye); !ok || b.Code != c.code {
				t.Errorf("answer %+v, want a bye with %v", b, c.code)
			}
			if len(r.store) != 0 {
				t.Error("the module was kept")
			}
			if d := r.ready(); c.name != "" {
				d.honest(1, d.initial())
			}
		})
	}
}

// TestNoModule compiles what is none.
func TestNoModule(t *testing.T) {
	r := newRig(t)
	r.bin = []byte("\x00asm\x01\x00\x00\x00garbage")
	id := migrate.Identity(r.bin)
	r.hello.Module, r.hello.Code = id, migrate.CloneCode(id, candidates, r.hello.Options, nil)
	d, _, err := r.dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
	if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeUnsupported || !strings.Contains(b.Text, "cannot run") {
		t.Errorf("answer %+v", b)
	}
}

// TestHostRanges: ranges that the module's imports cannot have are refused, and change what code it is.
func TestHostRanges(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		ranges []wire.HostRange
		ok     bool
	}{
		"good":   {[]wire.HostRange{{Func: mul(t, r.bin), Length: 1, Size: 4, Direction: wire.DirInOut}}, true},
		"param":  {[]wire.HostRange{{Func: mul(t, r.bin), Length: 2, Size: 4, Direction: wire.DirInOut}}, false},
		"import": {[]wire.HostRange{{Func: 1000, Length: 1, Size: 4, Direction: wire.DirInOut}}, false},
	} {
		r := *r
		r.hello.Hosts = c.ranges
		if _, _, err := r.dial(nil); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("%s: with the code of others: %v", name, err)
		}
		r.hello.Code = migrate.CloneCode(r.hello.Module, r.hello.Candidates, r.hello.Options, r.hello.Hosts)
		if c.ok {
			r.ready()
			continue
		}
		d, w, err := r.dial(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !w.HaveModule {
			d.send(&wire.Module{Total: uint64(len(r.bin)), Data: r.bin})
		}
		if b, ok := d.recv().(*wire.Bye); !ok || b.Code != wire.CodeUnsupported || !strings.Contains(b.Text, "ranges") {
			t.Errorf("%s: answer %+v", name, b)
		}
	}
}

// mul is the index of the guest's import of that name.
func mul(t *testing.T, bin []byte) uint32 {
	t.Helper()
	m, err := wasm.Decode(bin)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(m.NumImportedFuncs()) {
		if m.FuncImport(i).Name == "mul" {
			return i
		}
	}
	t.Fatal("no such import")
	return 0
}
