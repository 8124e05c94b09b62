package worker

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// relayed is the worker's side: a listener on the loopback whose connections begin with a secret.
type relayed struct {
	ln     *net.TCPListener
	secret []byte
}

func newRelayed() (*relayed, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the daemon: %w", err)
	}
	r := &relayed{ln: ln.(*net.TCPListener), secret: make([]byte, 32)}
	rand.Read(r.secret)
	return r, nil
}

// admit reads the secret off a connection.
func (r *relayed) admit(c *net.TCPConn) error {
	got := make([]byte, 2*len(r.secret))
	if err := c.SetReadDeadline(time.Now().Add(greetingTime)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, hex.AppendEncode(nil, r.secret)) != 1 {
		return errors.New("a connection does not come from the daemon")
	}
	return c.SetReadDeadline(time.Time{})
}
