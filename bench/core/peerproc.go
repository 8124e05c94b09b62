package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// A yardstick is another process that speaks plain TLS over the same kind of socket as a node's worker: what the
// network and the cipher cost by themselves. Each exchange begins with two lengths: bytes that come, bytes that go back.

const (
	yardstickArg = "yardstick"
	sni          = "yardstick.clonecloud"
	chunk        = 64 << 10
)

// serveYardstick is the child's main function.
func serveYardstick() error {
	auth, err := trust.EphemeralAuthority()
	if err != nil {
		return err
	}
	key, err := trust.NewKey()
	if err != nil {
		return err
	}
	chain, err := auth.Sign(key.Public(), sni)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	pin := auth.Pin()
	fmt.Printf("%s %x\n", ln.Addr(), pin)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent has gone
		os.Exit(0)
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		if err := link.Tune(c.(*net.TCPConn)); err != nil {
			return err
		}
		go measureOne(tls.Server(c, trust.ServerConfig(chain, key)))
	}
}

func measureOne(c net.Conn) {
	defer c.Close()
	buf := make([]byte, chunk)
	var head [16]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		in, out := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
		for in > 0 {
			n, err := c.Read(buf[:min(in, chunk)])
			if err != nil {
				return
			}
			in -= uint64(n)
		}
		if send(c, buf, out) != nil {
			return
		}
	}
}

func send(c net.Conn, buf []byte, n uint64) error {
	for n > 0 {
		m, err := c.Write(buf[:min(n, chunk)])
		if err != nil {
			return err
		}
		n -= uint64(m)
	}
	return nil
}

// yardstick is the parent's end.
type yardstick struct {
	cmd   *exec.Cmd
	stdin io.Closer
	conn  *tls.Conn
	buf   []byte
}

func newYardstick() (*yardstick, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	y := &yardstick{cmd: exec.Command(self, yardstickArg), buf: make([]byte, chunk)}
	y.cmd.Stderr = os.Stderr
	if y.stdin, err = y.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := y.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := y.cmd.Start(); err != nil {
		return nil, err
	}
	if err := y.connect(stdout); err != nil {
		y.close()
		return nil, err
	}
	return y, nil
}

func (y *yardstick) connect(stdout io.Reader) error {
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return err
	}
	var addr string
	var digest []byte
	if _, err := fmt.Sscanf(line, "%s %x", &addr, &digest); err != nil || len(digest) != 32 {
		return fmt.Errorf("yardstick says %q", line)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	y.conn = tls.Client(c, trust.ClientConfig([32]byte(digest), sni, time.Now))
	return errors.Join(link.Tune(c.(*net.TCPConn)), y.conn.Handshake())
}

// exchange sends up bytes, receives down bytes, and returns the time in microseconds.
func (y *yardstick) exchange(up, down uint64) (float64, error) {
	begin := time.Now()
	first := min(up, chunk-16)
	binary.LittleEndian.PutUint64(y.buf, up)
	binary.LittleEndian.PutUint64(y.buf[8:], down)
	if _, err := y.conn.Write(y.buf[:16+first]); err != nil {
		return 0, err
	}
	if err := send(y.conn, y.buf, up-first); err != nil {
		return 0, err
	}
	for down > 0 {
		n, err := y.conn.Read(y.buf[:min(down, chunk)])
		if err != nil {
			return 0, err
		}
		down -= uint64(n)
	}
	return us(time.Since(begin)), nil
}

func (y *yardstick) close() {
	if y.conn != nil {
		y.conn.Close()
	}
	y.stdin.Close()
	_ = y.cmd.Wait() // it has nothing to say
}
