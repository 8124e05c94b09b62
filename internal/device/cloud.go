package device

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Cloud keeps a clone of one process ready on a node: it dials, uploads the module, and begins anew when a
// conversation is lost. All of it happens beside the running program.
type Cloud struct {
	Dial link.Dialer
	Peer peer.Config
	// Hello is what every conversation begins with; the session is filled in here.
	Hello wire.Hello
	// Module is the original module.
	Module []byte
	// Known is what an earlier run with this program has learned of the cloud; nil: nothing.
	Known *Known
	// Alike says that the code here is such that it behaves the same only on clones with the same engine and
	// architecture; others are refused.
	Alike bool
	// MaxModule is how many bytes may have been sent when the module is uploaded, itself included; 0: any.
	MaxModule uint64
	// Delay is how long after Start the first conversation begins.
	Delay time.Duration
	// Log is told, in one line each, what a person may want to know. Any goroutine may call it, one at a time.
	Log func(format string, args ...any)
	// Events is told of the way to a clone: upload, preparation, readiness, loss. They count from Begin.
	Events trace.Sink
	Begin  time.Time

	cancel context.CancelFunc
	done   chan struct{}
	saying sync.Mutex // held while Log runs

	mu      sync.Mutex
	conn    *conn         // guarded by mu; nil: none is ready
	changed chan struct{} // guarded by mu; closed and replaced when conn or err changed
	err     error         // guarded by mu; why there will be no more
	rate    float64       // guarded by mu; bytes per second, 0: not measured
	told    bool          // guarded by mu; of a first trouble
	down    bool          // guarded by mu; the last conversation was lost or did not begin, and there is no other yet
	asked   time.Time     // guarded by mu; since when the node makes code ready; zero: it does not
	prepare time.Duration // guarded by mu; how long it did, before
	begun   time.Time     // of Start
	first   time.Duration // guarded by mu; from there, without Delay, to the first clone that was ready; 0: none was
	learned *Known        // guarded by mu
	past    traffic       // guarded by mu; of conversations that have ended
}

type traffic struct {
	up, down uint64
	resumed  int
}

// conn is a conversation with a clone that is ready to run, or will be by the time that it has an offload.
type conn struct {
	end    *peer.Endpoint
	state  delta.ID // where the clone stood when it became ready
	engine string
	arch   string
	// early says that the clone's word that it is ready is yet to come. The guest's goroutine alone uses it.
	early bool
	// judge tells whether the node is the one that an early conversation was begun for.
	judge func(*wire.Welcome) error
}

// recv returns the next message but for that word. Nothing is taken from a node that is another than was thought.
func (n *conn) recv(ctx context.Context, initial delta.ID) (wire.Message, error) {
	if !n.early {
		return n.end.Recv(ctx)
	}
	w, err := n.end.Welcome(ctx)
	if err == nil {
		err = n.judge(w)
	}
	if err != nil {
		return nil, err
	}
	m, err := n.end.Recv(ctx)
	if err != nil {
		return nil, err
	}
	n.early = false
	if err := isReady(m, initial); err != nil {
		return nil, err
	}
	return n.end.Recv(ctx)
}

// isReady judges what a clone says first.
func isReady(m wire.Message, initial delta.ID) error {
	s, ok := m.(*wire.SyncState)
	if !ok {
		return distrust("%v before it is ready", m.Type())
	}
	if s.State != wire.ID(initial) || len(s.Written) > 0 {
		return distrust("it does not begin with the module's initial state")
	}
	return nil
}

// Start begins to make a clone ready.
func (c *Cloud) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done, c.changed = cancel, make(chan struct{}), make(chan struct{})
	c.begun = time.Now()
	go func() {
		defer close(c.done)
		c.keep(ctx)
	}()
}

// Close ends the conversation and waits for what runs in the background.
func (c *Cloud) Close() {
	if c.cancel == nil {
		return // never started
	}
	c.cancel()
	<-c.done
}

// keep makes one conversation after another.
func (c *Cloud) keep(ctx context.Context) {
	const short, long = 20 * time.Millisecond, 10 * time.Second
	if c.Delay > 0 {
		select {
		case <-time.After(c.Delay):
		case <-ctx.Done():
			return
		}
	}
	if c.Known != nil {
		c.measuredRate(c.Known.Rate)
		if c.Known.Warm {
			began, err := c.converseEarly(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case permanent(err):
				c.giveUp(err)
				return
			case began:
				c.trouble(true, err)
			}
		}
	}
	for wait := short; ctx.Err() == nil; {
		ready, err := c.converse(ctx)
		if ctx.Err() != nil {
			return
		}
		if permanent(err) {
			c.giveUp(err)
			return
		}
		c.trouble(ready, err)
		if ready {
			wait = short
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, long)
	}
}

// permanent tells whether another conversation would end as this one did.
func permanent(err error) bool {
	return refusedWith(err, wire.CodeVersion, wire.CodeUnsupported, wire.CodeDenied) || errors.Is(err, errDistrust) ||
		errors.Is(err, wire.ErrProtocol) || errors.Is(err, peer.ErrHopeless)
}

func refusedWith(err error, codes ...wire.Code) bool {
	var refused *peer.RefusedError
	return errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}

// errStale ends a conversation that was begun early with a node that has changed.
var errStale = fmt.Errorf("%w: the node is not what it was in an earlier run", peer.ErrLost)

// errDistrust marks what only a faulty or lying clone does. It ends all dealings with its cloud.
var errDistrust = errors.New("the clone broke a rule")

func distrust(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDistrust, fmt.Errorf(format, args...))
}

// giveUp ends all dealings with the cloud, and says why if that is the first anybody hears of it.
func (c *Cloud) giveUp(err error) {
	if c.publish(nil, err) {
		c.emit(trace.Event{Kind: trace.Lost, Text: peer.Printable(plain(err)), Final: true})
		c.say("going on without a clone: %v", err)
	}
}

// trouble tells of the first conversation that is lost or does not begin. There may be many; the report counts them.
func (c *Cloud) trouble(ready bool, err error) {
	c.mu.Lock()
	told := c.told || c.err != nil
	c.told, c.down = true, true
	if c.err == nil {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.mu.Unlock()
	if err != nil {
		c.emit(trace.Event{Kind: trace.Lost, Text: peer.Printable(plain(err))})
	}
	switch {
	case told:
	case ready:
		c.say("clone lost, going on without until there is another: %v", err)
	default:
		c.say("no clone so far: %v", err)
	}
}

func (c *Cloud) say(format string, args ...any) {
	c.saying.Lock()
	defer c.saying.Unlock()
	if c.Log != nil {
		c.Log("%s", peer.Printable(fmt.Sprintf(format, args...)))
	}
}

// publish makes n the conversation in use, or says that there will be none. It does nothing once there is none.
func (c *Cloud) publish(n *conn, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.conn, c.err, c.down = n, err, false
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// ready returns the present conversation, nil if none is ready.
func (c *Cloud) ready() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.end.Err() != nil {
		return nil
	}
	return c.conn
}

// await waits for a conversation to be ready, for at most d. It gives up at once when there will be none, and with
// smooth set when one has failed.
func (c *Cloud) await(ctx context.Context, d time.Duration, smooth bool) *conn {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		c.mu.Lock()
		n, err, changed, down := c.conn, c.err, c.changed, c.down
		c.mu.Unlock()
		if n != nil && n.end.Err() == nil {
			return n
		}
		if err != nil || smooth && down {
			return nil
		}
		select {
		case <-changed:
		case <-t.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// drop ends a conversation that failed, and all dealings with the cloud if another would fail likewise.
func (c *Cloud) drop(n *conn, err error) {
	c.mu.Lock()
	if c.conn == n {
		c.conn = nil
	}
	c.mu.Unlock()
	if !permanent(err) {
		if !n.early { // else it was worth trying, and another kind of conversation follows at once
			c.trouble(true, err)
		}
		n.end.Close()
		return
	}
	c.giveUp(err)
	c.cancel()
	n.end.Refuse(wire.CodeProtocol, err.Error())
}

// converse has one conversation, from dialing to its end. It tells whether the clone became ready.
func (c *Cloud) converse(ctx context.Context) (bool, error) {
	hello := c.Hello
	if _, err := rand.Read(hello.Session[:]); err != nil {
		return false, err
	}
	dialing := time.Now()
	end, welcome, err := peer.Dial(ctx, c.Dial, hello, c.peerConfig())
	if err != nil {
		return false, err
	}
	c.emit(trace.Event{Kind: trace.Connected, Took: time.Since(dialing), RTT: end.RTT()})
	defer c.close(ctx, end)()
	if err := c.acceptable(welcome); err != nil {
		return false, err
	}
	start := time.Now()
	if !welcome.HaveModule {
		if err := c.upload(ctx, end); err != nil {
			return false, err
		}
	}
	if !welcome.HaveCode {
		defer c.preparing()()
	}
	m, err := end.Recv(ctx)
	if err != nil {
		return false, err
	}
	initial := migrate.InitialID(c.Hello.Module)
	if err := isReady(m, initial); err != nil {
		return false, err
	}
	bytes, at := end.Delivered()
	c.measured(bytes, at.Sub(start))
	c.learn(welcome, end.RTT())
	c.prepared()
	return true, c.use(ctx, &conn{end: end, state: initial, engine: welcome.Engine, arch: welcome.Arch})
}

// preparing notes that the node makes code ready, until prepared is called or what it returns.
func (c *Cloud) preparing() (end func()) {
	c.emit(trace.Event{Kind: trace.Prepare})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Now()
	return c.prepared
}

func (c *Cloud) prepared() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() {
		c.prepare += time.Since(c.asked)
		c.asked = time.Time{}
	}
}

// Preparing is how long the run had no clone because the node made its code ready.
func (c *Cloud) Preparing() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.IsZero() {
		return c.prepare
	}
	return c.prepare + time.Since(c.asked)
}

// converseEarly is converse with a node that is known to have the program's code in place. It tells whether that was
// true.
func (c *Cloud) converseEarly(ctx context.Context) (bool, error) {
	hello := c.Hello
	if _, err := rand.Read(hello.Session[:]); err != nil {
		return false, err
	}
	dialing := time.Now()
	end, err := peer.DialEarly(ctx, c.Dial, hello, c.peerConfig())
	if err != nil {
		return false, err
	}
	c.emit(trace.Event{Kind: trace.Connected, Took: time.Since(dialing), RTT: end.RTT()})
	defer c.close(ctx, end)()
	go func() {
		w, err := end.Welcome(ctx)
		if err != nil {
			return
		}
		if c.asKnown(w) != nil {
			end.Refuse(wire.CodeUnknown, "not what it was in an earlier run")
			return
		}
		c.learn(w, end.RTT())
	}()
	n := &conn{end: end, state: migrate.InitialID(c.Hello.Module), engine: c.Known.Engine, arch: c.Known.Arch, early: true, judge: c.asKnown}
	err = c.use(ctx, n)
	w, unwelcome := end.Welcome(ctx)
	if unwelcome != nil {
		return false, err
	}
	if stale := c.asKnown(w); stale != nil {
		return false, stale
	}
	return true, err
}

// asKnown refuses nodes that are not what they were.
func (c *Cloud) asKnown(w *wire.Welcome) error {
	if err := c.acceptable(w); err != nil {
		return fmt.Errorf("%w: %w", peer.ErrLost, err)
	}
	if !w.HaveModule || preferred(w) != c.Known.Engine || w.Arch != c.Known.Arch {
		return errStale
	}
	return nil
}

// acceptable refuses clones on which the program could behave otherwise.
func (c *Cloud) acceptable(w *wire.Welcome) error {
	if c.Alike && (w.Engine != c.Hello.Engine || w.Arch != c.Hello.Arch) {
		c.learn(w, 0) // the next run will prepare for it
		return &peer.RefusedError{Code: wire.CodeUnsupported, Text: fmt.Sprintf("the cloud has become another (%s %s); the next run can use it", w.Engine, w.Arch)}
	}
	return nil
}

// close returns what ends a conversation, and takes its traffic into the totals.
func (c *Cloud) close(ctx context.Context, end *peer.Endpoint) func() {
	stop := context.AfterFunc(ctx, func() { end.Close() })
	return func() {
		stop()
		end.Close()
		t := end.Traffic()
		c.mu.Lock()
		c.past.up += t.Sent
		c.past.down += t.Received
		c.past.resumed += end.Resumed()
		c.mu.Unlock()
	}
}

// use makes n the conversation in use until it ends.
func (c *Cloud) use(ctx context.Context, n *conn) (err error) {
	c.publish(n, nil)
	c.mu.Lock()
	c.first = cmp.Or(c.first, time.Since(c.begun)-c.Delay)
	c.mu.Unlock()
	c.emit(trace.Event{Kind: trace.Ready, Text: n.engine + " " + n.arch})
	select {
	case <-n.end.Done():
		err = n.end.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	c.conn = nil
	c.mu.Unlock()
	return err
}

func (c *Cloud) upload(ctx context.Context, end *peer.Endpoint) error {
	total := uint64(len(c.Module))
	if sent := c.totals().up; c.MaxModule > 0 && sent+total > c.MaxModule {
		return fmt.Errorf("%w: the module has %d bytes, and %d may be uploaded", peer.ErrHopeless, total, c.MaxModule-min(sent, c.MaxModule))
	}
	for at := uint64(0); at < total; {
		n := min(total-at, wire.MaxData)
		err := end.Send(ctx, &wire.Module{Total: total, Offset: at, Data: c.Module[at : at+n]})
		if err != nil {
			return fmt.Errorf("upload module: %w", err)
		}
		at += n
		c.emit(trace.Event{Kind: trace.Upload, Done: at, Total: total})
	}
	return nil
}

// totals are the traffic of all conversations so far.
func (c *Cloud) totals() traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.past
	if c.conn != nil {
		now := c.conn.end.Traffic()
		t.up += now.Sent
		t.down += now.Received
		t.resumed += c.conn.end.Resumed()
	}
	return t
}

// unwritten are the bytes of frames that wait for the link.
func (c *Cloud) unwritten() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return 0
	}
	return c.conn.end.Unwritten()
}

// Traffic returns the bytes of frames sent and received so far.
func (c *Cloud) Traffic() (up, down uint64) {
	t := c.totals()
	return t.up, t.down
}

// Await waits until a clone is ready, for at most d; false: none is, or none will be.
func (c *Cloud) Await(ctx context.Context, d time.Duration) bool {
	return c.await(ctx, d, false) != nil
}
