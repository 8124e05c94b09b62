package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// plain is the daemon's own server: HTTP over TLS for whoever is not passed to a worker.
type plain struct {
	node   *Node
	server *http.Server
	crowd  *control.Connections
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
}

// Of one exchange.
const (
	plainTime   = 10 * time.Second
	plainIdle   = 30 * time.Second
	plainHeader = 8 << 10
)

func newPlain(n *Node, most int) *plain {
	p := &plain{node: n, conns: make(chan net.Conn), done: make(chan struct{})}
	p.crowd = control.NewConnections(most, func() { n.refuse(nil, control.ReasonCrowd, control.ErrCrowd) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", p.status)
	mux.HandleFunc(trust.LinkPath, p.link)
	p.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: helloTime, ReadTimeout: plainTime, WriteTimeout: plainTime, IdleTimeout: plainIdle,
		MaxHeaderBytes: plainHeader,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				if k, ok := t.NetConn().(*kept); ok {
					return context.WithValue(ctx, clientKey{}, k.client)
				}
			}
			return ctx
		},
		ErrorLog:     log.New(plainLog{n}, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only
	}
	n.wg.Go(func() { _ = p.server.Serve(p) }) // until it is closed
	return p
}

type clientKey struct{}

// kept is a connection that leaves the crowd when it is closed.
type kept struct {
	*client
	leave func() bool
}

// Close implements net.Conn.
func (k *kept) Close() error {
	k.leave()
	return k.client.Close()
}

// serve serves a connection in the background.
func (p *plain) serve(c *client) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.node.names.get(h.ServerName, time.Now())
		},
	}
	k := &kept{c, p.crowd.Add(c)}
	select {
	case p.conns <- tls.Server(k, config):
	case <-p.done:
		k.Close()
	}
}

// Accept implements net.Listener.
func (p *plain) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (p *plain) Addr() net.Addr { return p.node.ln.Addr() }

// Close implements net.Listener.
func (p *plain) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *plain) close() {
	p.Close()
	p.server.Close()
	p.crowd.Close()
}

// plainLog gets what the server has to say: handshakes that failed, for the most part.
type plainLog struct{ node *Node }

func (l plainLog) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	if l.node.ctx.Err() == nil && l.node.refused.Add(control.ReasonTLS, time.Now()) {
		l.node.log("refused: %s", peer.Printable(text))
	}
	return len(b), nil
}

// status answers with the node's status, whoever has the token.
func (p *plain) status(w http.ResponseWriter, r *http.Request) {
	if !p.authorized(r) {
		p.refuse(w, r, control.ErrToken)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(p.node.Status()) // whoever asked may have gone
}

func (p *plain) authorized(r *http.Request) bool {
	token, ok := trust.ParseBearer(r.Header.Get("Authorization"))
	return ok && token.Equal(p.node.token)
}

// link says why there is none: links that there can be do not come here.
func (p *plain) link(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(clientKey{}).(*client)
	switch {
	case c != nil && c.refused != nil:
		p.answer(w, c.refused) // which was logged when it came
	case r.Method != http.MethodGet:
		p.refuse(w, r, &control.Refusal{Reason: control.ReasonRequest, Code: http.StatusMethodNotAllowed, Text: "a link is asked for with GET"})
	case r.Header.Get("Upgrade") != trust.Protocol:
		p.refuse(w, r, &control.Refusal{Reason: control.ReasonVersion, Code: http.StatusUpgradeRequired, Text: "this node speaks " + trust.Protocol})
	case !p.authorized(r):
		p.refuse(w, r, control.ErrToken)
	default:
		p.refuse(w, r, &control.Refusal{Reason: control.ReasonRoute, Code: http.StatusBadRequest, Text: "the connection does not name its device in TLS"})
	}
}

func (p *plain) refuse(w http.ResponseWriter, r *http.Request, why *control.Refusal) {
	if p.node.refused.Add(why.Reason, time.Now()) {
		p.node.log("refused %s %.20s: %s", r.RemoteAddr, peer.Printable(r.URL.Path), why.Text)
	}
	p.answer(w, why)
}

func (p *plain) answer(w http.ResponseWriter, why *control.Refusal) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Connection", "close")
	switch why.Code {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusUpgradeRequired:
		h.Set("Upgrade", trust.Protocol)
	}
	w.WriteHeader(why.Code)
	_, _ = io.WriteString(w, why.Text+"\n") // whoever asked may have gone
}
