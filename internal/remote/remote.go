// Package remote reaches a node over the network: it connects with TLS, asks for a link, and keeps on this device what
// earlier runs have learned of the node.
//
// A link costs two round trips, one for TCP and one for TLS: what is sent first goes out right behind the request, and
// the node's answer to that is read with its first bytes.
package remote

import (
	"bufio"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Node is a node as a device sees it.
type Node struct {
	Address trust.Address
	Device  trust.Secret // the device's identity
	// DialTCP makes connections; nil: as the system does. Tests go through proxies and other addresses.
	DialTCP func(ctx context.Context, address string) (net.Conn, error)

	mu    sync.Mutex
	early *preparing // guarded by mu; of Prepare, until it is taken
}

// FilesKey is what the node encrypts files of this device with, while one of its links is up. Another node is given another.
func (n *Node) FilesKey() [32]byte {
	key, err := hkdf.Key(sha256.New, n.Device[:], n.Address.Pin[:], "clonecloud files", 32)
	if err != nil {
		return [32]byte{} // only where the length is out of bounds
	}
	return [32]byte(key)
}

// preparing is a link that is being made.
type preparing struct {
	made chan connected
	stop context.CancelFunc
}

// drop gives it up.
func (p *preparing) drop() {
	p.stop()
	go func() {
		if c := <-p.made; c.err == nil {
			c.link.Close()
		}
	}()
}

type connected struct {
	link link.Link
	err  error
	at   time.Time
}

// keptFor is how long a link that nobody has used yet is good for: the node waits for the request a little longer.
const keptFor = 3 * time.Second

// Prepare begins to connect, for the first Connect to use.
func (n *Node) Prepare(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.early != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	p := &preparing{make(chan connected, 1), stop}
	n.early = p
	go func() {
		defer stop()
		l, err := n.connect(ctx)
		p.made <- connected{l, err, time.Now()}
	}()
}

// Abandon closes the connection of a Prepare that nobody took.
func (n *Node) Abandon() {
	if p := n.take(); p != nil {
		p.drop()
	}
}

func (n *Node) take() *preparing {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.early
	n.early = nil
	return p
}

// Connect makes a link; it is a link.Dialer. Errors that match peer.ErrHopeless would come again.
func (n *Node) Connect(ctx context.Context) (link.Link, error) {
	if p := n.take(); p != nil {
		select {
		case c := <-p.made:
			if c.err != nil || time.Since(c.at) < keptFor {
				return c.link, c.err
			}
			c.link.Close() // it took long until it was wanted
		case <-ctx.Done():
			p.drop()
			return nil, ctx.Err()
		}
	}
	return n.connect(ctx)
}

func (n *Node) connect(ctx context.Context) (link.Link, error) {
	sni := trust.SNI(n.Address.Token, trust.NewRoute(n.Address.Token, n.Device))
	conn, rtt, err := n.dial(ctx, sni)
	if err != nil {
		return nil, err
	}
	a := &asking{Conn: conn, in: bufio.NewReaderSize(conn, 1<<10), request: trust.RequestHeader(sni, n.Address.Token, n.Device)}
	s := link.NewStream(a, link.StreamOptions{
		Header: wire.HeaderSize, MaxFrame: wire.MaxFrame, Size: wire.FrameSize, Compress: true,
	})
	s.SetRate(0, rtt)
	return &timed{s, rtt}, nil
}

// dial connects and ends TLS.
func (n *Node) dial(ctx context.Context, sni string) (*tls.Conn, time.Duration, error) {
	dial := n.DialTCP
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	begin := time.Now()
	tcp, err := dial(ctx, n.Address.Host)
	if err != nil {
		return nil, 0, err
	}
	rtt := time.Since(begin)
	if c, ok := tcp.(*net.TCPConn); ok {
		if err := link.Tune(c); err != nil {
			tcp.Close()
			return nil, 0, err
		}
	}
	begin = time.Now()
	conn := tls.Client(tcp, trust.ClientConfig(n.Address.Pin, sni, time.Now))
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		if errors.Is(err, trust.ErrPin) || errors.Is(err, trust.ErrName) || errors.Is(err, trust.ErrDates) || errors.Is(err, trust.ErrChain) {
			err = fmt.Errorf("%w: %w", peer.ErrHopeless, err)
		}
		return nil, 0, fmt.Errorf("greet %s: %w", n.Address.Host, err)
	}
	return conn, roundTrip(rtt, time.Since(begin)), nil
}

// reckoning is what the computing of a handshake may take on a slow device.
const reckoning = 5 * time.Millisecond

// roundTrip is what a round trip to the node takes, from what connecting and what the handshake of TLS took, which is a
// round trip and some computing. Something near may have accepted the connection in the node's place.
func roundTrip(connect, handshake time.Duration) time.Duration {
	if handshake > 2*connect+reckoning {
		return handshake - reckoning
	}
	return connect
}

// timed is a stream that knows its round trip.
type timed struct {
	*link.Stream
	rtt time.Duration
}

// RTT implements link.Timed.
func (t *timed) RTT() time.Duration { return t.rtt }

// asking is a connection whose first bytes out are the request for a link, and whose first bytes in the answer.
type asking struct {
	net.Conn
	in       *bufio.Reader
	request  []byte // nil once it is sent
	answered bool
	err      error
}

// NetConn is the connection beneath TLS, for who must close it.
func (a *asking) NetConn() net.Conn {
	if t, ok := a.Conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return a.Conn
}

// CloseWrite says that nothing more comes.
func (a *asking) CloseWrite() error {
	if t, ok := a.Conn.(*tls.Conn); ok {
		return t.CloseWrite()
	}
	return nil
}

func (a *asking) Write(b []byte) (int, error) {
	if a.request == nil {
		return a.Conn.Write(b)
	}
	n := len(a.request)
	all := append(a.request, b...)
	a.request = nil
	m, err := a.Conn.Write(all)
	return max(m-n, 0), err
}

func (a *asking) Read(b []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	if !a.answered {
		if err := trust.ReadAnswer(a.in); err != nil {
			a.err = refused(err)
			return 0, a.err
		}
		a.answered = true
	}
	if a.in.Buffered() == 0 {
		return a.Conn.Read(b)
	}
	return a.in.Read(b)
}

// refused gives the node's refusal its meaning.
func refused(err error) error {
	var status *trust.StatusError
	if !errors.As(err, &status) {
		return err
	}
	if status.Code == http.StatusTooManyRequests || status.Code >= http.StatusInternalServerError { // may pass
		return &peer.RefusedError{Code: wire.CodeLimit, Text: status.Text}
	}
	return &peer.RefusedError{Code: wire.CodeDenied, Text: status.Text}
}
