package worker

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/store"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Of a worker's connections.
const (
	maxGreeting  = 64 // connections that have not shown yet who they are: the server name travels in the clear
	greetingTime = 5 * time.Second
	// deadTime is how long a device may say nothing whose system answers for it: it may be stopped. One that has vanished
	// is noticed by TCP.
	deadTime  = 10 * time.Minute
	readAhead = 4 << 10
)

// begin makes the worker that of a route.
func (w *worker) begin(a *control.Assignment) error {
	if w.assign != nil || len(a.Route) != len(w.route) || len(a.Token) != sha256.Size || len(a.MAC) != 32 || len(a.Chain) == 0 {
		return errors.New("assignment makes no sense")
	}
	copy(w.route[:], a.Route)
	modules, err := store.Open(a.Modules, a.Limits.Modules)
	if err != nil {
		return err
	}
	if err := w.openCode(a.Code, [32]byte(a.MAC), a.Limits.Code); err != nil {
		return err
	}
	clear(a.MAC)
	spool := filepath.Join(w.setup.Dir, "spool")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return fmt.Errorf("folder for what guests write: %w", err)
	}
	w.assign = a
	w.chain.Store(&a.Chain)
	w.greet = control.NewConnections(maxGreeting, func() { w.refuse(nil, control.ReasonCrowd, control.ErrCrowd) })
	w.host = &clone.Host{
		Engines: w.hostEngines(), Measures: measures{a.Measures}, Store: modules, Log: w.log, Watch: w.watch, Stuck: w.stuck, Deny: w.denied, Speed: a.Speed,
		Peer: peer.Config{Grace: a.Grace, Dead: deadTime},
		Limits: clone.Limits{
			Memory: a.Limits.Memory, Exec: a.Limits.Exec, Wall: a.Limits.Wall, Compile: a.Limits.Compile,
			Output: a.Limits.Output, Clones: a.Limits.Clones,
		},
		Files: w.openFiles(spool, a.Limits.Written),
	}
	config := trust.ServerConfig(a.Chain, w.key)
	config.Certificates = nil
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: *w.chain.Load(), PrivateKey: w.key}, nil
	}
	go collecting(w.host)
	go w.reporting()
	go w.take(config)
	return nil
}

func (w *worker) denied(module [32]byte) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deny.Reason(module, time.Now())
}

// take takes what the daemon gives, until it gives nothing more.
func (w *worker) take(config *tls.Config) {
	for {
		var c *net.TCPConn
		var err error
		if w.relayed != nil {
			c, err = w.relayed.ln.AcceptTCP()
		} else {
			c, err = control.Take(w.conns)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return // the end of the orders ends this process
		case err != nil:
			w.seen.Add(1)
			w.refuse(nil, control.ReasonCrowd, fmt.Errorf("take connection: %w", err))
			if !errors.Is(err, control.ErrNoDescriptor) {
				time.Sleep(10 * time.Millisecond) // not to spin while there are no descriptors
			}
			continue
		}
		// Counted as open before as seen: a worker with something to do must not look idle.
		w.links.opened()
		w.seen.Add(1)
		go w.serve(c, config)
	}
}

func (w *worker) refuse(from net.Addr, reason string, err error) {
	defer w.news()
	if !w.refused.Add(reason, time.Now()) {
		return
	}
	if from == nil {
		w.log("refused: %v", err)
	} else {
		w.log("refused %v: %v", from, err)
	}
}

// serve greets one connection, and hands it to the host, which serves it in the background.
func (w *worker) serve(c *net.TCPConn, config *tls.Config) {
	defer w.news()
	leave := w.greet.Add(c)
	from := c.RemoteAddr()
	if w.relayed != nil {
		if err := w.relayed.admit(c); err != nil {
			leave()
			c.Close()
			w.links.closed()
			w.refuse(from, control.ReasonRequest, err)
			return
		}
	}
	if err := link.Tune(c); err != nil {
		w.log("tune connection: %v", err) // it works all the same
	}
	conn := tls.Server(c, config)
	in := bufio.NewReaderSize(conn, readAhead)
	reason, err := w.greeting(conn, in)
	if in := leave(); !in || err != nil {
		if in { // else it was evicted, and counted then
			w.refuse(from, reason, err)
			hangUp(conn)
		}
		conn.Close()
		if err == nil {
			w.links.down()
		}
		w.links.closed()
		return
	}
	s := &counted{Stream: link.NewStream(conn, link.StreamOptions{
		Header: wire.HeaderSize, MaxFrame: wire.MaxFrame, Size: frameSize, Compress: true, Reader: in,
	})}
	s.closed = func() {
		w.links.down()
		w.links.closed()
		w.news()
	}
	if err := w.host.Accept(context.Background(), s); err != nil {
		w.refuse(from, control.ReasonGreeting, err)
		s.Close()
	}
}

// greeting ends TLS and reads and answers the request. Without an error the connection counts as a link; with one the
// reason is named, and the answer was given.
func (w *worker) greeting(conn *tls.Conn, in *bufio.Reader) (reason string, err error) {
	if err := conn.SetDeadline(time.Now().Add(greetingTime)); err != nil {
		return control.ReasonTLS, err
	}
	if err := conn.Handshake(); err != nil {
		return control.ReasonTLS, fmt.Errorf("TLS: %w", err)
	}
	req, err := trust.ReadRequest(in)
	var bad *trust.StatusError
	switch {
	case errors.As(err, &bad):
		return w.answer(conn, &control.Refusal{Reason: reasonOf(bad.Code), Code: bad.Code, Text: bad.Text})
	case err != nil:
		return control.ReasonRequest, err
	}
	sum := req.Token.Sum()
	switch {
	case subtle.ConstantTimeCompare(sum[:], w.assign.Token) != 1:
		return w.answer(conn, control.ErrToken)
	case trust.NewRoute(req.Token, req.Device) != w.route:
		return w.answer(conn, control.ErrRoute)
	case !w.links.up(w.assign.Limits.Links):
		return w.answer(conn, control.ErrLinks)
	}
	// While it drains, a device may come back to what runs; the host refuses all else.
	err = trust.WriteAccepted(conn)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		w.links.down()
	}
	return control.ReasonRequest, err
}

func (w *worker) answer(conn *tls.Conn, why *control.Refusal) (string, error) {
	_ = trust.WriteRefused(conn, why.Code, why.Text) // whoever asked may have gone
	return why.Reason, why
}

func reasonOf(code int) string {
	switch code {
	case http.StatusUnauthorized:
		return control.ReasonToken
	case http.StatusUpgradeRequired:
		return control.ReasonVersion
	}
	return control.ReasonRequest
}

// hangUp closes a connection whose other end has yet to read an answer, and may have sent more than was read: what is
// left unread when it is closed would make the system drop the answer, too.
func hangUp(conn *tls.Conn) {
	if err := conn.CloseWrite(); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, conn, 64<<10)
	}
	conn.Close()
}

var errFrame = fmt.Errorf("frame is longer than %d bytes: %w", wire.MaxFrame, wire.ErrProtocol)

// frameSize returns the length of the frame that begins so.
func frameSize(header []byte) (int, error) {
	n := binary.LittleEndian.Uint32(header)
	if n > wire.MaxBody {
		return 0, errFrame
	}
	return wire.HeaderSize + int(n), nil
}

// counted is a link that tells when it is closed.
type counted struct {
	*link.Stream
	once   sync.Once
	closed func()
}

// Close implements link.Link.
func (c *counted) Close() error {
	err := c.Stream.Close()
	c.once.Do(c.closed)
	return err
}

// links counts a worker's connections.
type links struct {
	mu     sync.Mutex
	conns  int           // guarded by mu
	ups    int           // guarded by mu; of them, links
	served uint64        // guarded by mu; links so far
	empty  chan struct{} // guarded by mu; closed when there are none, nil: nobody waits
}

func (l *links) opened() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns++
}

func (l *links) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns--; l.conns == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

// up makes a connection a link, if there are fewer than most.
func (l *links) up(most int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ups >= most {
		return false
	}
	l.ups++
	l.served++
	return true
}

func (l *links) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ups--
}

func (l *links) count() (conns, ups int, served uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns, l.ups, l.served
}

// wait waits until there are no connections.
func (l *links) wait(ctx context.Context) {
	l.mu.Lock()
	if l.conns == 0 {
		l.mu.Unlock()
		return
	}
	if l.empty == nil {
		l.empty = make(chan struct{})
	}
	empty := l.empty
	l.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}
