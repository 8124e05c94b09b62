package device

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
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
	// Log is told, in one line each, what a person may want to know. Any goroutine may call it, one at a time.
	Log func(format string, args ...any)

	cancel context.CancelFunc
	done   chan struct{}
	saying sync.Mutex // held while Log runs

	mu      sync.Mutex
	conn    *conn         // guarded by mu; nil: none is ready
	changed chan struct{} // guarded by mu; closed and replaced when conn or err changed
	err     error         // guarded by mu; why there will be no more
	rate    float64       // guarded by mu; bytes per second, 0: not measured
	told    bool          // guarded by mu; of a first trouble
	past    traffic       // guarded by mu; of conversations that have ended
}

type traffic struct {
	up, down uint64
	resumed  int
}

// conn is a conversation with a clone that is ready to run.
type conn struct {
	end    *peer.Endpoint
	state  delta.ID // where the clone stood when it became ready
	engine string
	arch   string
}

// Start begins to make a clone ready.
func (c *Cloud) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done, c.changed = cancel, make(chan struct{}), make(chan struct{})
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
	var refused *peer.RefusedError
	return errors.As(err, &refused) && (refused.Code == wire.CodeVersion || refused.Code == wire.CodeUnsupported) ||
		errors.Is(err, errDistrust) || errors.Is(err, wire.ErrProtocol)
}

// errDistrust marks what only a faulty or lying clone does. It ends all dealings with its cloud.
var errDistrust = errors.New("the clone broke a rule")

func distrust(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errDistrust, fmt.Errorf(format, args...))
}

// giveUp ends all dealings with the cloud, and says why if that is the first anybody hears of it.
func (c *Cloud) giveUp(err error) {
	if c.publish(nil, err) {
		c.say("going on without a clone: %v", err)
	}
}

// trouble tells of the first conversation that is lost or does not begin. There may be many; the report counts them.
func (c *Cloud) trouble(ready bool, err error) {
	c.mu.Lock()
	told := c.told || c.err != nil
	c.told = true
	c.mu.Unlock()
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
	c.conn, c.err = n, err
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

// await waits for a conversation to be ready, for at most d. It gives up at once when there will be none.
func (c *Cloud) await(ctx context.Context, d time.Duration) *conn {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		c.mu.Lock()
		n, err, changed := c.conn, c.err, c.changed
		c.mu.Unlock()
		if n != nil && n.end.Err() == nil {
			return n
		}
		if err != nil {
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
		c.trouble(true, err)
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
	end, welcome, err := peer.Dial(ctx, c.Dial, hello, c.Peer)
	if err != nil {
		return false, err
	}
	defer func() {
		end.Close()
		t := end.Traffic()
		c.mu.Lock()
		c.past.up += t.Sent
		c.past.down += t.Received
		c.past.resumed += end.Resumed()
		c.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { end.Close() })
	defer stop()
	start := time.Now()
	if !welcome.HaveModule {
		if err := c.upload(ctx, end); err != nil {
			return false, err
		}
	}
	m, err := end.Recv(ctx)
	if err != nil {
		return false, err
	}
	s, ok := m.(*wire.SyncState)
	if !ok {
		return false, distrust("%v before it is ready", m.Type())
	}
	if s.State != wire.ID(migrate.InitialID(c.Hello.Module)) || len(s.Written) > 0 {
		return false, distrust("it does not begin with the module's initial state")
	}
	bytes, at := end.Delivered()
	c.measured(bytes, at.Sub(start))
	c.publish(&conn{end: end, state: s.State, engine: welcome.Engine, arch: welcome.Arch}, nil)
	select {
	case <-end.Done():
		err = end.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	c.conn = nil
	c.mu.Unlock()
	return true, err
}

func (c *Cloud) upload(ctx context.Context, end *peer.Endpoint) error {
	total := uint64(len(c.Module))
	for at := uint64(0); at < total; {
		n := min(total-at, wire.MaxData)
		err := end.Send(ctx, &wire.Module{Total: total, Offset: at, Data: c.Module[at : at+n]})
		if err != nil {
			return fmt.Errorf("upload module: %w", err)
		}
		at += n
	}
	return nil
}

// measured takes a transfer into the estimate of the rate.
func (c *Cloud) measured(bytes uint64, took time.Duration) {
	if bytes < 64<<10 || took <= 0 {
		return
	}
	r := float64(bytes) / took.Seconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rate == 0 {
		c.rate = r
		return
	}
	c.rate += (r - c.rate) / 4
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

// Await waits until a clone is ready, for at most d; false: none is, or none will be.
func (c *Cloud) Await(ctx context.Context, d time.Duration) bool { return c.await(ctx, d) != nil }
