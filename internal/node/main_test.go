package node_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/node"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "worker":
		os.Exit(node.WorkerMain(node.Engines{Kinds: strings.Fields, New: newEngine}))
	case len(os.Args) > 1 && os.Args[1] == "daemon":
		os.Exit(daemonMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

// newEngine makes the engines of the tests' workers: real ones, and ones that misbehave on purpose.
func newEngine(kind, dir string) (engine.Engine, error) {
	mode := wazero.Interpreter
	switch kind {
	case "compiler":
		mode = wazero.Compiler
	case engines.Wasmtime:
		return engines.New(kind, dir)
	case "none":
		return nil, fmt.Errorf("there is no engine")
	case "crash":
		os.Exit(7)
	}
	e, err := wazero.New(wazero.Options{Mode: mode, CacheDir: dir})
	if err != nil {
		return nil, err
	}
	return &oddEngine{e, kind}, nil
}

// Name tells odd engines from those that they are made of.
func (e *oddEngine) Name() string {
	if e.kind == "picky" {
		return e.kind
	}
	return e.Engine.Name()
}

// oddEngine does what its kind says, with modules that are given to it.
type oddEngine struct {
	engine.Engine
	kind string
}

func (e *oddEngine) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	switch e.kind {
	case "picky":
		return nil, fmt.Errorf("it has dragons: %w", engine.ErrUnsupported)
	case "slow":
		select {} // compiles for ever
	case "greedy":
		for {
			hoard = append(hoard, bytes.Repeat([]byte{1}, 16<<20))
		}
	}
	m, err := e.Engine.Compile(ctx, bin)
	if err != nil {
		return nil, err
	}
	return &oddModule{m, e.kind}, nil
}

var hoard [][]byte

type oddModule struct {
	engine.Module
	kind string
}

func (m *oddModule) Instantiate(ctx context.Context, cfg engine.Config) (engine.Instance, error) {
	i, err := m.Module.Instantiate(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &oddInstance{i, m.kind}, nil
}

type oddInstance struct {
	engine.Instance
	kind string
}

func (i *oddInstance) Func(name string) engine.Func {
	f := i.Instance.Func(name)
	if f == nil || !strings.HasPrefix(name, "clonecloud:body.") {
		return f
	}
	return &oddFunc{f, i.kind}
}

type oddFunc struct {
	engine.Func
	kind string
}

func (f *oddFunc) Call(ctx context.Context, stack []uint64) error {
	switch f.kind {
	case "endless":
		select {} // heeds no context
	case "held":
		stopSelf() // nothing of the process runs any more
		select {}  // the signal may take a moment
	}
	return f.Func.Call(ctx, stack)
}

// logbook keeps what was logged, and can be waited for.
type logbook struct {
	t     testing.TB
	mu    sync.Mutex
	lines []string
	news  chan struct{}
}

func newLogbook(t testing.TB) *logbook { return &logbook{t: t, news: make(chan struct{})} }

func (l *logbook) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	close(l.news)
	l.news = make(chan struct{})
}

func (l *logbook) has(text string) bool {
	return strings.Contains(l.all(), text)
}

func (l *logbook) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// all is the whole log.
func (l *logbook) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// await waits until a line has the text.
func (l *logbook) await(text string) {
	l.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		news, all := l.news, strings.Join(l.lines, "\n")
		l.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-news:
		case <-deadline:
			l.t.Fatalf("nothing in the log has %q:\n%s", text, all)
		}
	}
}

// until waits for what has no event; it looks often.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		runtime.Gosched()
		time.Sleep(2 * time.Millisecond)
	}
}

// rig is a node and its log.
type rig struct {
	*node.Node
	log *logbook
}

// startNode starts a node on the loopback, and checks at the end that no secret is in its log.
func startNode(t testing.TB, change func(c *node.Config)) *rig {
	t.Helper()
	cfg := node.Config{Listen: "127.0.0.1:0", Engine: "interpreter"}
	if change != nil {
		change(&cfg)
	}
	log := newLogbook(t)
	cfg.Log = log.log
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v; log:\n%s", err, log.all())
	}
	t.Cleanup(func() {
		n.Close()
		if log.has(n.Address().Token.Reveal()) {
			t.Error("the token is in the log")
		}
		if t.Failed() {
			t.Logf("log of the node:\n%s", log.all())
		}
	})
	return &rig{n, log}
}

// client is somebody who has a node's address.
type client struct {
	addr  trust.Address
	id    trust.Secret
	links atomic.Int64
}

func newClient(n *node.Node) *client { return &client{addr: n.Address(), id: trust.NewSecret()} }

func (d *client) sni() string { return trust.SNI(d.addr.Token, trust.NewRoute(d.addr.Token, d.id)) }

// tls connects as far as TLS.
func (d *client) tls(ctx context.Context, sni string) (*tls.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.addr.Host)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(c, trust.ClientConfig(d.addr.Pin, sni, time.Now))
	if err := conn.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return conn, nil
}

// dial is a link.Dialer.
func (d *client) dial(ctx context.Context) (link.Link, error) {
	conn, err := d.tls(ctx, d.sni())
	if err != nil {
		return nil, err
	}
	in, err := ask(conn, trust.RequestHeader(d.sni(), d.addr.Token, d.id))
	if err != nil {
		conn.Close()
		return nil, err
	}
	d.links.Add(1)
	return link.NewStream(conn, link.StreamOptions{
		Header: wire.HeaderSize, MaxFrame: wire.MaxFrame, Reader: in, Size: func(h []byte) (int, error) {
			return wire.HeaderSize + int(h[0]) + int(h[1])<<8 + int(h[2])<<16, nil
		},
	}), nil
}

// insist dials until there is a link, whatever becomes of connections on the way; only refusals count.
func (d *client) insist(t testing.TB) link.Link {
	t.Helper()
	for {
		l, err := d.dial(t.Context())
		var refused *trust.StatusError
		switch {
		case err == nil:
			return l
		case errors.As(err, &refused) || t.Context().Err() != nil:
			t.Fatal(err)
		}
	}
}

// ask sends a request for a link and reads the answer.
func ask(conn net.Conn, request []byte) (*bufio.Reader, error) {
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	return in, trust.ReadAnswer(in)
}

// get asks the daemon for a page.
func (d *client) get(t testing.TB, path string, header http.Header) (int, string) {
	t.Helper()
	conn, err := d.tls(t.Context(), trust.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, _ := http.NewRequest(http.MethodGet, "http://"+trust.NodeName+path, nil)
	req.Header, req.Close = header, true
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (d *client) bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + d.addr.Token.Reveal()}}
}

// daemonMain is a node in a process of its own, which says its address and ends by being killed.
func daemonMain(state string) int {
	n, err := node.Start(context.Background(), node.Config{
		Listen: "127.0.0.1:0", State: state, Engine: "interpreter", Warm: 2, Log: func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(n.Address().String())
	select {}
}
