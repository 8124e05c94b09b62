package device_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

//go:embed testdata/guest.wasm
var guestWasm []byte

var interpreter = sync.OnceValues(func() (engine.Engine, error) { return wazero.New(wazero.Options{Mode: wazero.Interpreter}) })

// stage is where a scripted clone plays: a conversation with a device, and what that has sent so far.
type stage struct {
	end   *peer.Endpoint
	ctx   context.Context
	hello *wire.Hello
	m     *wire.Migrate  // the last one
	mem   *linmem.Memory // the device's memory at that time
	next  delta.ID       // the state that it leads to
	call  uint64         // the last call made
	old   *wire.Reintegrate
	// unpack reads what comes compressed.
	unpack replica.Unpacker
}

// over ends a script whose conversation has ended.
type over struct{ error }

func (s *stage) send(ms ...wire.Message) {
	for _, m := range ms {
		if err := s.end.Send(s.ctx, m); err != nil {
			if errors.Is(err, peer.ErrLost) || s.ctx.Err() != nil {
				panic(over{err})
			}
			panic(fmt.Sprintf("BUG: script sends %v: %v", m.Type(), err))
		}
	}
}

func (s *stage) recv() wire.Message {
	m, err := s.end.Recv(s.ctx)
	if err != nil {
		panic(over{err})
	}
	// A busy machine takes its link for a slow one, and compresses.
	if f, ok := m.(*wire.Files); ok && f.Kind == wire.FilesPacked {
		data, err := s.unpack.Unpack(f.Data)
		if err != nil {
			panic(fmt.Sprintf("BUG: compressed files: %v", err))
		}
		return &wire.Files{Offload: f.Offload, Attempt: f.Attempt, Kind: wire.FilesGive, Data: data}
	}
	return m
}

// expect receives messages until one of a type comes.
func expect[T wire.Message](s *stage) T {
	for {
		if m, ok := s.recv().(T); ok {
			return m
		}
	}
}

func (s *stage) initial() *wire.SyncState {
	return &wire.SyncState{State: migrate.InitialID(s.hello.Module)}
}

// ready takes the module if need be, and says that the clone is ready.
func (s *stage) ready() {
	for m := expect[*wire.Module](s); m.Offset+uint64(len(m.Data)) < m.Total; m = expect[*wire.Module](s) {
	}
	s.send(s.initial())
}

// migrate takes an offload in.
func (s *stage) migrate() { s.take(expect[*wire.Migrate](s)) }

func (s *stage) take(m *wire.Migrate) {
	s.m = m
	s.call = 0
	if s.mem == nil {
		var err error
		if s.mem, err = linmem.New(8<<16, 8<<16, linmem.Options{Tracker: linmem.None}); err != nil {
			panic(err)
		}
	}
	st, err := migrate.ReceiveInto(s.mem.Bytes(), s.attempt(), &s.m.Image, delta.Limits{Base: func(p uint32) []byte {
		return s.mem.Bytes()[uint64(p)*delta.PageSize:][:delta.PageSize]
	}}, func() (wire.Message, error) { return s.recv(), nil })
	if err != nil {
		panic(over{err})
	}
	s.next = st.Next
}

func (s *stage) attempt() migrate.Attempt {
	return migrate.Attempt{Offload: s.m.Offload, Number: s.m.Attempt}
}

// answer is an honest Reintegrate of a call that changed nothing.
func (s *stage) answer(results ...uint64) *wire.Reintegrate {
	r := &wire.Reintegrate{
		Offload: s.m.Offload, Attempt: s.m.Attempt, Outcome: wire.OutcomeResults, Results: results, Calls: s.call, ExecNanos: 1000,
		Image: s.m.Image,
	}
	r.Image.Base = s.next
	r.Image.Globals = slices.Clone(s.m.Image.Globals)
	return r
}

// pages is the delta that belongs to an answer, as messages.
func (s *stage) pages(r *wire.Reintegrate, pages ...uint32) []wire.Message {
	set := &linmem.PageSet{}
	for _, p := range pages {
		set.Add(p)
	}
	var ms []wire.Message
	w := wire.NewPagesWriter(r.Offload, r.Attempt, func(m wire.Message) error {
		if p, ok := m.(*wire.Pages); ok {
			m = &wire.Pages{Offload: p.Offload, Attempt: p.Attempt, Data: bytes.Clone(p.Data)}
		}
		ms = append(ms, m)
		return nil
	})
	mem := s.mem.Bytes()
	mem = mem[:min(r.Image.MemoryBytes, uint64(len(mem)))]
	h := delta.Header{Base: r.Image.Base, MemoryBytes: uint64(len(mem)), Pages: uint32(len(pages))}
	if _, _, err := delta.Encode(w, h, mem, set.All(), delta.Options{}); err != nil {
		panic(err)
	}
	w.Close()
	return ms
}

// back ends the offload, and is told whether the device merged it.
func (s *stage) back(r *wire.Reintegrate) {
	s.send(r)
	s.send(s.pages(r)...)
	s.old = r
}

// request makes a home call, and returns the answer.
func (s *stage) request(req wasi.Request) *wasi.Response {
	s.call++
	s.send(s.homeCall(req))
	var resp wasi.Response
	if err := resp.Decode(expect[*wire.HomeResult](s).Response); err != nil {
		panic(err)
	}
	return &resp
}

func (s *stage) homeCall(req wasi.Request) *wire.HomeCall {
	return &wire.HomeCall{Offload: s.m.Offload, Attempt: s.m.Attempt, Call: s.call, Request: req.AppendTo(nil)}
}

func (s *stage) output(handle uint64, data string) {
	s.call++
	s.send(&wire.Output{Offload: s.m.Offload, Attempt: s.m.Attempt, Call: s.call, Handle: handle, Data: []byte(data)})
}

func (s *stage) note(req wasi.Request, resp wasi.Response) {
	s.call++
	s.send(&wire.Note{Offload: s.m.Offload, Attempt: s.m.Attempt, Call: s.call, Request: req.AppendTo(nil), Response: resp.AppendTo(nil)})
}

// wasiState changes the WASI state of an answer.
func (s *stage) wasiState(r *wire.Reintegrate, change func(w *wasi.State)) {
	w := &wasi.State{}
	err := w.UnmarshalBinary(r.Image.WASI)
	if err == nil {
		change(w)
		r.Image.WASI, err = w.MarshalBinary()
	}
	if err != nil {
		panic(err)
	}
}

func (s *stage) refuse() *wire.Refuse {
	return &wire.Refuse{Offload: s.m.Offload, Attempt: s.m.Attempt, Code: wire.CodeLimit, Text: "tired"}
}

// tired refuses the next offload, after one that failed.
func (s *stage) tired() {
	expect[*wire.Sync](s)
	s.send(s.initial())
	s.migrate()
	s.send(s.refuse())
}

// bye ends the conversation.
func (s *stage) bye() { s.end.Refuse(wire.CodeInternal, "I do not want to \x1b[2Jany more\nnow") }

// silence says nothing until the device gives up.
func (s *stage) silence() {
	for {
		s.recv()
	}
}

// lie is one case: what the clone of a function does, and what that must lead to.
type lie struct {
	name     string
	function string // the only one that is offloaded; default pure
	script   func(s *stage)
	raw      func(ctx context.Context, l link.Link) // in place of script: has the link of each dial to itself
	again    bool                                   // the script plays in later conversations too
	line     string                                 // part of the only line in the log; "" none
	reason   string                                 // of the fallback; "" none
	end      string                                 // of the run, if it is not that of a run without a cloud
	limits   device.Limits
	peer     peer.Config
	overdue  bool // by the policy's word, as soon as it is asked
	luck     bool // line and reason may be missing, or be those of a lost link
	wait     time.Duration
	// admit judges greetings in place of the usual; setup changes the run's configuration.
	admit func(h *wire.Hello) (*wire.Welcome, error)
	setup func(cfg *runner.Config)
}

// outcome is what a run left.
type outcome struct {
	stdout, end string
	files       map[string]string
	stdin       string // what is left of it
	report      device.Report
	log         []string

	mu     sync.Mutex
	events []string // guarded by mu; links tell of theirs at any time
}

// told takes an event.
func (o *outcome) told(e trace.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e.String())
}

// trace has a line for each event so far.
func (o *outcome) trace() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

const stdin = "first line, second line, third line"

// play runs the guest, with a lying clone or, where c is nil, without a cloud.
func play(t testing.TB, c *lie) *outcome {
	t.Helper()
	tree := vfs.NewMem(vfs.MemOptions{Now: func() uint64 { return 1 }})
	return playOver(t, c, tree, nil)
}

// playOver is play over a directory of its own, with a configuration that setup has changed.
func playOver(t testing.TB, c *lie, tree vfs.FS, setup func(cfg *runner.Config)) *outcome {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	put(t, tree, "in", "what is in the file")
	in := strings.NewReader(stdin)
	var stdout bytes.Buffer
	o := &outcome{}
	cfg := runner.Config{
		Module: guestWasm, Engine: eng, Args: []string{"guest", "arg"}, Env: []string{"HOME=/"},
		Local: local.Config{Stdin: in, Stdout: &stdout, VirtualClock: true, Mounts: []local.Mount{{FS: tree, Guest: "/dir"}}},
		Hosts: migrate.Hosts{"host": {"mul": {Call: func(_ context.Context, c *migrate.HostCall) error {
			c.Results[0] = uint64(uint32(c.Params[0]) * uint32(c.Params[1]))
			return nil
		}}}},
		Log:    func(f string, a ...any) { o.log = append(o.log, fmt.Sprintf(f, a...)) },
		Events: o.told,
	}
	if setup != nil {
		setup(&cfg)
	}
	if c != nil {
		stop := c.connect(ctx, &cfg)
		defer stop()
	}
	r, err := runner.Run(ctx, cfg)
	if r == nil {
		t.Fatal(err)
	}
	o.stdout, o.report, o.end = stdout.String(), r.Report, fmt.Sprint(err)
	o.stdin = stdin[len(stdin)-in.Len():]
	o.files = files(t, tree)
	return o
}

// connect gives the run its cloud.
func (c *lie) connect(ctx context.Context, cfg *runner.Config) (stop func()) {
	function := c.function
	if function == "" {
		function = "pure"
	}
	cfg.Analysis.All = true
	if cfg.Wait = c.wait; cfg.Wait == 0 {
		cfg.Wait = time.Minute
	}
	cfg.Limits = c.limits
	if cfg.Peer = c.peer; cfg.Peer.Grace == 0 {
		cfg.Peer.Grace = 200 * time.Millisecond
	}
	cfg.Policy = func(_ *analysis.Report, cands []analysis.Func) device.Policy {
		f := device.NewForced(1, 0, 0)
		f.Only = map[uint32]bool{}
		for id, c := range cands {
			f.Only[uint32(id)] = c.Name == function
		}
		if c.overdue {
			return impatient{f}
		}
		return f
	}
	first := make(chan bool, 1)
	first <- true
	acc := &peer.Acceptor{
		Config: cfg.Peer,
		Admit: func(h *wire.Hello) (*wire.Welcome, error) {
			if c.admit != nil {
				return c.admit(h)
			}
			return &wire.Welcome{Version: wire.Version, Session: h.Session, Engine: "liar", Arch: "wasm"}, nil
		},
		Serve: func(ctx context.Context, e *peer.Endpoint, h *wire.Hello, _ *wire.Welcome) {
			s := &stage{end: e, ctx: ctx, hello: h}
			defer func() {
				s.unpack.Close()
				if s.mem != nil {
					s.mem.Close()
				}
				if r := recover(); r != nil {
					if _, ok := r.(over); !ok {
						panic(r)
					}
				}
			}()
			select {
			case <-first:
			default:
				if !c.again {
					s.silence() // a second clone never gets ready
				}
			}
			c.script(s)
			s.silence()
		},
	}
	cfg.Dial = func(context.Context) (link.Link, error) {
		here, there := link.Pipe(0)
		if c.raw != nil {
			go c.raw(ctx, there)
		} else {
			go func() { _ = acc.Accept(ctx, there) }()
		}
		return here, nil
	}
	if c.setup != nil {
		c.setup(cfg)
	}
	return acc.Close
}

// impatient is a policy that never waits.
type impatient struct{ device.Policy }

func (impatient) Overdue(uint32, time.Duration, time.Duration) bool { return true }

func put(t testing.TB, tree vfs.FS, name, content string) {
	t.Helper()
	d, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(name, vfs.OpenWrite|vfs.OpenCreate)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// files are the names in the top directory with their contents.
func files(t testing.TB, tree vfs.FS) map[string]string {
	t.Helper()
	d, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	es, err := d.ReadDir()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, e := range es {
		f, err := d.Open(e.Name, vfs.OpenRead)
		if err != nil {
			m[e.Name] = err.Error()
			continue
		}
		b := make([]byte, 1<<10)
		n, _ := f.ReadAt(b, 0)
		m[e.Name] = hex.EncodeToString(b[:n])
		f.Close()
	}
	return m
}

// reframe gives a frame another type and body, and makes it whole again.
func reframe(frame []byte, t wire.Type, body string) []byte {
	f := append(bytes.Clone(frame[:wire.HeaderSize]), body...)
	binary.LittleEndian.PutUint32(f, uint32(len(body)))
	f[4] = byte(t)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(f[24:], crc32.Update(crc32.Checksum(f[:24], table), table, []byte(body)))
	return f
}
