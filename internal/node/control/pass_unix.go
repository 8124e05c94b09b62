//go:build unix

package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const CanPass = true

// SocketPair makes a pipe for descriptors: the daemon's end, and the file of the worker's.
func SocketPair() (*net.UnixConn, *os.File, error) {
	fds, err := newSocketPair()
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker's end")
	ours, err := UnixConn(os.NewFile(uintptr(fds[0]), "daemon's end"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// UnixConn makes a connection of a file, which it closes.
func UnixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%T in place of a unix socket", c)
	}
	return u, nil
}

// Pass sends a connection to the other end, and keeps its own descriptor of it. One goroutine at a time.
func Pass(to *net.UnixConn, c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if err := to.SetWriteDeadline(time.Now().Add(PassTime)); err != nil {
		return err
	}
	var passed error
	if err := raw.Control(func(fd uintptr) {
		_, _, passed = to.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
	}); err != nil {
		return err
	}
	return passed
}

// Take receives a connection.
func Take(from *net.UnixConn) (*net.TCPConn, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := from.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(ErrNoDescriptor, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(ErrNoDescriptor, err)
	}
	f := os.NewFile(uintptr(fds[0]), "passed connection")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, errors.Join(ErrNoDescriptor, err)
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, ErrNoDescriptor
	}
	return t, nil
}

// ErrNoDescriptor marks a message without a usable connection (this process may have as many as it is allowed); others
// may follow.
var ErrNoDescriptor = errors.New("no connection came with the message")

// PassedFile is where a worker finds its end of the socket pair.
func PassedFile() *os.File { return os.NewFile(3, "daemon's connections") }
