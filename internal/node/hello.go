package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// errSilent marks a connection that has not said in time what it wants.
var errSilent = errors.New("no ClientHello in time")

// client is an accepted connection of which, where it could not be left where it was, a beginning has been read.
type client struct {
	*net.TCPConn
	read    []byte           // taken off the connection
	refused *control.Refusal // why the daemon serves it itself, if a device may want to know
}

// Read implements net.Conn: what was taken off comes first.
func (c *client) Read(b []byte) (int, error) {
	if len(c.read) == 0 {
		return c.TCPConn.Read(b)
	}
	n := copy(b, c.read)
	c.read = c.read[n:]
	return n, nil
}

// WriteTo hides that of the TCP connection, which knows nothing of what was taken off.
func (c *client) WriteTo(w io.Writer) (int64, error) {
	var head int64
	if len(c.read) > 0 {
		n, err := w.Write(c.read)
		c.read = nil
		if head = int64(n); err != nil {
			return head, err
		}
	}
	n, err := c.TCPConn.WriteTo(w)
	return head + n, err
}

// takeHello reads the ClientHello off the connection, for it to be read again from c.
func (c *client) takeHello() (name string, err error) {
	buf := make([]byte, 0, 1<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := c.TCPConn.Read(buf[len(buf):min(cap(buf), trust.MaxHello)])
		buf = buf[:len(buf)+n]
		c.read = buf
		if err != nil {
			return "", err
		}
		name, complete, err := trust.ServerName(buf)
		switch {
		case err != nil || complete:
			return name, err
		case len(buf) >= trust.MaxHello:
			return "", errors.New("ClientHello is too long")
		}
	}
}

// hello returns the server name that the client asks for. Where it can, it only looks.
func (c *client) hello(take bool) (name string, err error) {
	if err := c.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return "", err
	}
	if take || !canPeek {
		name, err = c.takeHello()
	} else {
		name, err = peekHello(c.TCPConn)
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "", errSilent
	case err != nil:
		return "", fmt.Errorf("read ClientHello: %w", err)
	}
	return name, c.SetReadDeadline(time.Time{})
}
