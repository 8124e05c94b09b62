package remote_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestConnect: the request and the first frame go out in one write, and what the node says first comes with its answer.
func TestConnect(t *testing.T) {
	leakless(t)
	s := newServer(t)
	e, w, err := peer.Dial(t.Context(), s.node.Connect, hello(), peer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if w.Engine != "e" {
		t.Errorf("welcome %+v", w)
	}
	s.mu.Lock()
	header, behind, ok := bytes.Cut(s.first, []byte("\r\n\r\n"))
	s.mu.Unlock()
	if !ok || !bytes.HasPrefix(header, []byte("GET /v1/link HTTP/1.1\r\nHost: ")) || len(behind) < wire.HeaderSize {
		t.Errorf("first record is %d bytes, and %d behind the request", len(header), len(behind))
	}
	for i, size := range []int{1, 300 << 10, 0, 5000} {
		echo(t, e, uint64(i+1), size)
	}
	if s.count() != 1 {
		t.Errorf("%d connections", s.count())
	}
}

// TestConnectEarly begins without waiting, and goes on over another connection after a loss.
func TestConnectEarly(t *testing.T) {
	leakless(t)
	s := newServer(t)
	e, err := peer.DialEarly(t.Context(), s.node.Connect, hello(), peer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.RTT() <= 0 {
		t.Errorf("round trip of %v", e.RTT())
	}
	echo(t, e, 1, 1000)
	if w, err := e.Welcome(t.Context()); err != nil || w.Arch != "a" {
		t.Errorf("welcome %+v, %v", w, err)
	}
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	echo(t, e, 2, 1000)
	if e.Resumed() != 1 || s.count() != 2 {
		t.Errorf("resumed %d times over %d connections", e.Resumed(), s.count())
	}
}

// TestLink has what a conversation can use of a link.
func TestLink(t *testing.T) {
	leakless(t)
	s := newServer(t)
	l, err := s.node.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	timed, ok := l.(link.Timed)
	_, batch := l.(link.BatchSender)
	_, rated := l.(link.Rated)
	if !ok || timed.RTT() <= 0 || timed.RTT() > 5*time.Second || !batch || !rated {
		t.Errorf("link %T", l)
	}
	l.Close()
}

// TestRefused gives refusals their meaning: some may pass, others would come again.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		status int
		code   wire.Code
	}{
		{400, wire.CodeDenied}, {401, wire.CodeDenied}, {403, wire.CodeDenied}, {404, wire.CodeDenied}, {426, wire.CodeDenied},
		{429, wire.CodeLimit}, {500, wire.CodeLimit}, {502, wire.CodeLimit}, {503, wire.CodeLimit},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			leakless(t)
			s := newServer(t)
			s.refuse, s.text = c.status, "because of\x1b[2J that"
			_, _, err := peer.Dial(t.Context(), s.node.Connect, hello(), peer.Config{})
			judge := func(err error) {
				t.Helper()
				var r *peer.RefusedError
				if !errors.As(err, &r) || r.Code != c.code || r.Text != "because of?[2J that" {
					t.Errorf("error %v", err)
				}
			}
			judge(err)
			e, err := peer.DialEarly(t.Context(), s.node.Connect, hello(), peer.Config{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.Welcome(t.Context())
			judge(err)
			if s.count() != 2 {
				t.Errorf("%d connections for two attempts", s.count())
			}
		})
	}
}

// TestNoNode reaches what is no node, or not the right one.
func TestNoNode(t *testing.T) {
	dial := func(s *server) error {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		_, _, err := peer.Dial(ctx, s.node.Connect, hello(), peer.Config{Greeting: 5 * time.Second})
		if err == nil {
			t.Error("connected")
			return errors.New("connected")
		}
		if text := err.Error(); strings.Contains(text, s.node.Address.Token.Reveal()) {
			t.Errorf("the token is in %q", text)
		}
		return err
	}
	hopeless := func(s *server, want error, text string) {
		t.Helper()
		if err := dial(s); !errors.Is(err, peer.ErrHopeless) || !errors.Is(err, want) || !strings.Contains(err.Error(), text) ||
			!strings.Contains(err.Error(), s.node.Address.Host) {
			t.Errorf("error %v", err)
		}
	}
	s := newServer(t)
	s.node.Address.Pin[0]++
	hopeless(s, trust.ErrPin, "the node presents another certificate than the address names")
	hopeless(newServer(t, "other.clonecloud"), trust.ErrName, "is for another name")

	s = newServer(t)
	s.raw = func(conn *tls.Conn) { _, _ = io.WriteString(conn, "SSH-2.0-x\r\n\r\n") }
	var refused *peer.RefusedError
	if err := dial(s); errors.Is(err, peer.ErrHopeless) || errors.As(err, &refused) || !strings.Contains(err.Error(), "it is not HTTP") {
		t.Errorf("error %v", err)
	}
	s = newServer(t)
	s.raw = func(*tls.Conn) {}
	if err := dial(s); errors.Is(err, peer.ErrHopeless) {
		t.Errorf("error %v", err)
	}
	s = newServer(t)
	s.close()
	if err := dial(s); errors.Is(err, peer.ErrHopeless) {
		t.Errorf("error %v", err)
	}
}

// TestPrepare connects ahead of the first use, once.
func TestPrepare(t *testing.T) {
	leakless(t)
	s := newServer(t)
	for range 3 {
		s.node.Prepare(t.Context())
	}
	until(t, func() bool { return s.count() == 1 })
	e, _, err := peer.Dial(t.Context(), s.node.Connect, hello(), peer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	echo(t, e, 1, 10)
	if s.count() != 1 {
		t.Errorf("%d connections", s.count())
	}
	s.node.Abandon() // of nothing
	echo(t, e, 2, 10)
	e.Close()
	l, err := s.node.Connect(t.Context())
	if err != nil || s.count() != 2 {
		t.Fatalf("%d connections, %v", s.count(), err)
	}
	l.Close()
}

func until(t *testing.T, there func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

// TestAbandon leaves nothing of what nobody used, whether it was made, is being made or failed.
func TestAbandon(t *testing.T) {
	leakless(t)
	s := newServer(t)
	greeted, closed := make(chan bool, 1), make(chan error, 1)
	s.raw = func(conn *tls.Conn) {
		greeted <- true
		_, err := conn.Read(make([]byte, 1))
		closed <- err
	}
	s.node.Prepare(t.Context())
	<-greeted
	s.node.Abandon()
	s.node.Abandon()
	select {
	case err := <-closed:
		if err == nil {
			t.Error("something was sent")
		}
	case <-time.After(10 * time.Second):
		t.Error("the connection is open")
	}

	hangs := make(chan error)
	s.node.DialTCP = func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		hangs <- ctx.Err()
		return nil, ctx.Err()
	}
	s.node.Prepare(context.Background())
	s.node.Abandon()
	<-hangs

	// Who waits for it no longer than it may takes nothing away from the next.
	s.node.Prepare(context.Background())
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := s.node.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	<-hangs
	no := errors.New("no")
	s.node.DialTCP = func(context.Context, string) (net.Conn, error) { return nil, no }
	s.node.Prepare(t.Context())
	if _, err := s.node.Connect(t.Context()); !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	s.node.Prepare(t.Context())
	s.node.Abandon()
}

// TestStatus asks a node how it is.
func TestStatus(t *testing.T) {
	leakless(t)
	s := newServer(t)
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"engine\": \"any\"}"
	token := "Bearer " + s.auth.Token().Reveal()
	s.raw = func(conn *tls.Conn) {
		r, err := ask(conn)
		if err != nil {
			return
		}
		if r.Method != "GET" || r.URL.Path != "/v1/status" || r.Header.Get("Authorization") != token || conn.ConnectionState().ServerName != "node.clonecloud" {
			t.Errorf("request %v %v for %v", r.Method, r.URL, conn.ConnectionState().ServerName)
		}
		if answer == "" {
			_, _ = conn.Read(make([]byte, 1))
		}
		_, _ = io.WriteString(conn, answer)
	}
	var got struct{ Engine string }
	if rtt, err := s.node.Status(t.Context(), &got); err != nil || rtt <= 0 || got.Engine != "any" {
		t.Errorf("%+v, %v, %v", got, rtt, err)
	}
	for text, want := range map[string]string{
		"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nno\x1b[2J no": "it refuses (401): no?[2J no",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{{":                    "read its answer",
		"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n{}":                   "unexpected EOF",
		"SSH-2.0-x\r\n\r\n": "malformed HTTP",
		"HTTP/1.1 200 OK\r\n\r\n[" + strings.Repeat("1,", 1<<20) + "1]": "read its answer",
	} {
		answer = text
		_, err := s.node.Status(t.Context(), &got)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.node.Address.Host) || strings.Contains(err.Error(), token[7:]) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	answer = ""
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := s.node.Status(ctx, &got); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
