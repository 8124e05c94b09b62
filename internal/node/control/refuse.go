package control

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The reasons to refuse a connection, as they stand in the status.
const (
	ReasonCrowd    = "crowd"    // evicted by those who came after
	ReasonHello    = "hello"    // no whole ClientHello in time, or none at all
	ReasonTLS      = "tls"      // the handshake failed
	ReasonRequest  = "request"  // malformed
	ReasonToken    = "token"    // wrong or missing
	ReasonRoute    = "route"    // the token is right, the device is another's
	ReasonVersion  = "version"  // another protocol
	ReasonDevices  = "devices"  // too many of them
	ReasonLinks    = "links"    // too many of one device
	ReasonWorker   = "worker"   // none could be had
	ReasonDraining = "draining" // shutting down
	ReasonGreeting = "greeting" // no proper first frame
)

// Reasons lists them.
var Reasons = []string{
	ReasonCrowd, ReasonHello, ReasonTLS, ReasonRequest, ReasonToken, ReasonRoute, ReasonVersion, ReasonDevices, ReasonLinks, ReasonWorker,
	ReasonDraining, ReasonGreeting,
}

// Refusal is why a device is not served, as an error and as an HTTP answer.
type Refusal struct {
	Reason string
	Code   int
	Text   string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

// What either side refuses with.
var (
	ErrCrowd    = errors.New("too many connections wait: one of them is dropped")
	ErrFull     = &Refusal{ReasonDevices, http.StatusServiceUnavailable, "as many devices are served here as may be"}
	ErrWorker   = &Refusal{ReasonWorker, http.StatusServiceUnavailable, "no worker could be started"}
	ErrDraining = &Refusal{ReasonDraining, http.StatusServiceUnavailable, "the node is shutting down"}
	ErrLinks    = &Refusal{ReasonLinks, http.StatusTooManyRequests, "this device has as many links as it may have"}
	ErrToken    = &Refusal{ReasonToken, http.StatusUnauthorized, "the token is not this node's"}
	ErrRoute    = &Refusal{ReasonRoute, http.StatusForbidden, "this connection is named for another device"}
)

// Tally counts refusals by reason, and keeps a flood of them from flooding the log. Safe for concurrent use.
type Tally struct {
	mu     sync.Mutex
	counts map[string]uint64   // guarded by mu
	quiet  map[string]*subdued // guarded by mu
}

// subdued is what is left unsaid of one reason.
type subdued struct {
	window time.Time
	said   int
	unsaid uint64
}

// In each window so many refusals of one reason are logged one by one.
const (
	tallyWindow = 10 * time.Second
	tallySay    = 20
)

// Add counts one refusal; say: it is to be logged.
func (t *Tally) Add(reason string, now time.Time) (say bool) {
	t.Count(reason, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.quiet[reason]
	if q == nil {
		q = &subdued{window: now}
		t.quiet[reason] = q
	}
	if q.said >= tallySay {
		q.unsaid++
		return false
	}
	q.said++
	return true
}

// Count counts refusals that were logged elsewhere.
func (t *Tally) Count(reason string, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts, t.quiet = map[string]uint64{}, map[string]*subdued{}
	}
	t.counts[reason] += n
}

// Rest returns, once a window has passed, a line for each reason of which something was left unsaid.
func (t *Tally) Rest(now time.Time) (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for reason, q := range t.quiet {
		if now.Sub(q.window) < tallyWindow {
			continue
		}
		if q.unsaid > 0 {
			lines = append(lines, fmt.Sprintf("%d more refused within %v: %s", q.unsaid, now.Sub(q.window).Round(time.Second), reason))
		}
		delete(t.quiet, reason)
	}
	return lines
}

// Snapshot returns the counts.
func (t *Tally) Snapshot() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[string]uint64, len(t.counts))
	for k, v := range t.counts {
		m[k] = v
	}
	return m
}
