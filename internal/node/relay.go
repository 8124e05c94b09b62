package node

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
)

// relayDial bounds how long a worker may take to accept, and the daemon to say its secret.
const relayDial = 5 * time.Second

// relayTo opens a worker's end of a relayed connection.
func relayTo(r *control.Readiness) (*net.TCPConn, error) {
	host, _, err := net.SplitHostPort(r.Listen)
	if err != nil {
		return nil, fmt.Errorf("worker listens nowhere: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, errors.New("worker does not listen on the loopback")
	}
	c, err := net.DialTimeout("tcp", r.Listen, relayDial)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(hex.AppendEncode(nil, r.Secret)); err != nil {
		c.Close()
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// relayLinger is how long a device may take to close a connection that its worker has closed: a worker closes all of
// it, so that nobody reads what would still come.
const relayLinger = 2 * time.Second

// relay copies bytes between the two until both directions have ended, or over is closed, and closes them. What it sees
// is TLS.
func relay(c *client, w *net.TCPConn, over <-chan struct{}) {
	defer c.Close()
	defer w.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-over:
			linger(c.TCPConn, w) // whoever is at the other end may neither read nor write nor close
		case <-done:
		}
	}()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.WriteTo(w)
		ended(err, c.TCPConn, w)
	})
	_, err := io.Copy(c.TCPConn, w)
	ended(err, w, c.TCPConn)
	linger(c.TCPConn)
	wg.Wait()
}

// linger bounds how long connections may go on.
func linger(conns ...*net.TCPConn) {
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(relayLinger)) // it may be closed already
	}
}

// ended passes the end of a direction on: as an end where it was one, else by dropping both.
func ended(err error, from, to *net.TCPConn) {
	if err == nil {
		if err = to.CloseWrite(); err == nil {
			return
		}
	}
	from.Close()
	to.Close()
}

// logLines calls f with each line of r, cut where it is long, until r ends.
func logLines(r io.Reader, f func(line string)) {
	b := bufio.NewReaderSize(r, 4<<10)
	for {
		line, more, err := b.ReadLine()
		if len(line) > 0 {
			f(string(line))
		}
		for more && err == nil {
			_, more, err = b.ReadLine()
		}
		if err != nil {
			return
		}
	}
}
