//go:build unix

package node

import (
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clonecloud/clonecloud/internal/trust"
)

const canPeek = true

var helloBuffers = sync.Pool{New: func() any { return new([trust.MaxHello]byte) }}

// peekHello looks at the first bytes of a connection until they are a whole ClientHello, and leaves them there.
//
// To look does not use up what is there, so the connection stays readable while the rest is on its way. Go's poller
// reports changes only (it is edge-triggered on all the systems that we build for), so that each look waits for new bytes.
func peekHello(conn *net.TCPConn) (name string, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		buf := helloBuffers.Get().(*[trust.MaxHello]byte)
		defer helloBuffers.Put(buf)
		n, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return false
		case err != nil:
			got = err
			return true
		case n == 0:
			got = io.EOF
			return true
		}
		var complete bool
		name, complete, got = trust.ServerName(buf[:n])
		if !complete && got == nil && n == len(buf) {
			got = errors.New("ClientHello is too long")
		}
		return complete || got != nil
	})
	if err != nil {
		return "", err
	}
	return name, got
}
