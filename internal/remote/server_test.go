package remote_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// server is a node as far as this package sees one.
type server struct {
	t        *testing.T
	auth     *trust.Authority
	node     *remote.Node
	listener net.Listener
	acc      *peer.Acceptor
	// refuse, if not 0, is its answer to a request for a link; raw, if not nil, has each connection to itself.
	refuse int
	text   string
	raw    func(conn *tls.Conn)

	mu    sync.Mutex
	dials int
	first []byte // what came in the first record
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// newServer starts a node, with a certificate for names or, if there are none, the right ones.
func newServer(t *testing.T, names ...string) *server {
	t.Helper()
	auth, err := trust.EphemeralAuthority()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, auth: auth, conns: map[net.Conn]bool{}}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.node = &remote.Node{Address: auth.Address(s.listener.Addr().String()), Device: trust.NewSecret()}
	if len(names) == 0 {
		names = []string{trust.SNI(auth.Token(), trust.NewRoute(auth.Token(), s.node.Device)), "node.clonecloud"}
	}
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := auth.Sign(key.Public(), names...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := trust.ServerConfig(chain, key)
	s.acc = &peer.Acceptor{Admit: func(h *wire.Hello) (*wire.Welcome, error) {
		return &wire.Welcome{Version: wire.Version, Session: h.Session, HaveModule: true, Engine: "e", Arch: "a"}, nil
	}, Serve: func(ctx context.Context, e *peer.Endpoint, _ *wire.Hello, _ *wire.Welcome) {
		for {
			m, err := e.Recv(ctx)
			if err != nil {
				return
			}
			c := m.(*wire.HomeCall)
			if e.Send(ctx, &wire.HomeResult{Offload: c.Offload, Attempt: c.Attempt, Call: c.Call, Response: c.Request}) != nil {
				return
			}
		}
	}}
	s.wg.Go(func() {
		for {
			tcp, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.dials++
			s.conns[tcp] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(tcp, tls.Server(tcp, cfg)) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *server) close() {
	s.listener.Close()
	s.acc.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

func (s *server) serve(tcp net.Conn, conn *tls.Conn) {
	if conn.Handshake() != nil {
		tcp.Close()
		return
	}
	if s.raw != nil {
		s.raw(conn)
		conn.Close()
		return
	}
	first := make([]byte, 16<<10)
	n, err := conn.Read(first) // of one record
	if err != nil {
		tcp.Close()
		return
	}
	s.mu.Lock()
	s.first = first[:n]
	s.mu.Unlock()
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(first[:n]), conn))
	req, err := trust.ReadRequest(in)
	if err != nil || req.Token != s.auth.Token() || req.Device != s.node.Device {
		s.t.Errorf("request %+v, %v", req, err)
	}
	if s.refuse != 0 {
		_ = trust.WriteRefused(conn, s.refuse, s.text)
		conn.Close()
		return
	}
	var answer bytes.Buffer
	_ = trust.WriteAccepted(&answer)
	l := link.NewStream(&joining{conn, answer.Bytes()}, link.StreamOptions{
		Header: wire.HeaderSize, MaxFrame: wire.MaxFrame, Size: wire.FrameSize, Compress: true, Reader: in,
	})
	_ = s.acc.Accept(context.Background(), l)
}

// joining is a connection whose first write begins with something.
type joining struct {
	*tls.Conn
	first []byte
}

func (j *joining) Write(b []byte) (int, error) {
	n := len(j.first)
	all := append(j.first, b...)
	j.first = nil
	m, err := j.Conn.Write(all)
	return max(m-n, 0), err
}

func hello() wire.Hello {
	s := trust.NewSecret()
	return wire.Hello{Version: wire.Version, Session: wire.Token(s[:16])}
}

// echo makes a call over a conversation.
func echo(t *testing.T, e *peer.Endpoint, call uint64, size int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	b := bytes.Repeat([]byte{byte(call)}, size)
	if err := e.Send(ctx, &wire.HomeCall{Offload: 1, Attempt: 1, Call: call, Request: b}); err != nil {
		t.Fatal(err)
	}
	m, err := e.Recv(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := m.(*wire.HomeResult); !ok || r.Call != call || !bytes.Equal(r.Response, b) {
		t.Fatalf("answer %v", m.Type())
	}
}

// leakless checks that no goroutine stays that begins from here on.
func leakless(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

// ask reads a request of HTTP from a connection.
func ask(conn *tls.Conn) (*http.Request, error) { return http.ReadRequest(bufio.NewReader(conn)) }
