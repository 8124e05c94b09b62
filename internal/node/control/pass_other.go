//go:build !unix

package control

import (
	"errors"
	"net"
	"os"
)

const CanPass = false

var ErrNoDescriptor = errors.New("no connection came with the message")

var errNoPassing = errors.New("connections cannot be passed on this platform")

func SocketPair() (*net.UnixConn, *os.File, error) { return nil, nil, errNoPassing }

func UnixConn(f *os.File) (*net.UnixConn, error) {
	f.Close()
	return nil, errNoPassing
}

func Pass(*net.UnixConn, *net.TCPConn) error { return errNoPassing }

func Take(*net.UnixConn) (*net.TCPConn, error) { return nil, errNoPassing }

func PassedFile() *os.File { return os.Stdin }
