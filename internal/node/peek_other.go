//go:build !unix

package node

import (
	"errors"
	"net"
)

const canPeek = false

func peekHello(*net.TCPConn) (string, error) {
	return "", errors.New("connections cannot be looked into on this platform")
}
