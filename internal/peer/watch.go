package peer

import (
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// Saw says what a Sight is of.
type Saw uint8

// What Config.Watch is told of.
const (
	SawSent     Saw = iota // a frame is written to a link
	SawReceived            // a frame came and was taken
	SawLinkLost            // the link failed; the conversation waits for another
	SawLinkBack            // the conversation goes on over another link
)

// Sight is one thing that happened on the links of a conversation.
type Sight struct {
	What  Saw
	Type  wire.Type     // of a frame
	Bytes int           // of a frame, its header included
	Err   error         // of a link that failed
	Away  time.Duration // without a link, until it was back
	RTT   time.Duration // with links: as measured so far, 0: not
	Rate  float64       // likewise, bytes per second
}

// frame tells of a frame.
func (c *Config) frame(what Saw, f []byte) {
	if c.Watch == nil {
		return
	}
	if h, err := wire.ParseHeader(f); err == nil {
		c.Watch(Sight{What: what, Type: h.Type, Bytes: len(f)})
	}
}

// linkLost tells of a link that failed. Preconditions: e.mu is held.
func (e *Endpoint) linkLost(err error) {
	e.lost = time.Now()
	if e.cfg.Watch != nil {
		e.cfg.Watch(Sight{What: SawLinkLost, Err: err, RTT: e.rtt, Rate: e.rate.perSecond})
	}
}

// linkBack tells of a link that took the place of another. Preconditions: e.mu is held.
func (e *Endpoint) linkBack() {
	if e.cfg.Watch == nil {
		return
	}
	s := Sight{What: SawLinkBack, RTT: e.rtt, Rate: e.rate.perSecond}
	if !e.lost.IsZero() {
		s.Away = time.Since(e.lost)
	}
	e.cfg.Watch(s)
}
