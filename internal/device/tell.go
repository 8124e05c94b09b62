package device

import (
	"context"
	"errors"
	"regexp"
	"runtime"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// emit hands out an event of this moment.
func (c *Controller) emit(e trace.Event) {
	if c.cfg.Events != nil {
		e.At = time.Since(c.cfg.Begin)
		c.cfg.Events(e)
	}
}

// begun tells that the guest is about to run.
func (c *Controller) begun() {
	if c.cfg.Events == nil {
		return
	}
	c.emit(trace.Event{
		Kind: trace.Begin, Module: c.report.Module, Text: c.report.Engine + " " + runtime.GOARCH,
		Args: len(c.proc.WASI.State.Args), Took: c.report.Start,
	})
	if c.report.Stay != "" {
		c.emit(trace.Event{Kind: trace.Stay, Text: c.report.Stay})
	}
}

// ended tells how the run ended.
func (c *Controller) ended(r *Report, err error) {
	if c.cfg.Events == nil {
		return
	}
	reason, text := endOf(err)
	c.emit(trace.Event{
		Kind: trace.End, Took: r.Wall, Here: r.Device, Exec: r.Clone, Up: r.LinkUp, Down: r.LinkDown, Reason: reason, Text: text,
	})
}

// endOf says in a word and in a line how a run ended.
func endOf(err error) (reason, text string) {
	var exit *wasi.ExitError
	var trap *engine.Trap
	var exc *engine.Exception
	switch {
	case err == nil:
		return "returned", "returned"
	case errors.Is(err, migrate.ErrDiverged):
		reason = "diverged"
	case errors.As(err, &exit):
		reason = "exit"
	case errors.As(err, &trap):
		reason = "trap"
	case errors.As(err, &exc):
		reason = "exception"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		reason = "stopped"
	default:
		reason = "failed"
	}
	return reason, plain(err)
}

// plain is the text of an error as it may stand in a trace: without the names of files. Of others it is complete.
func plain(err error) string {
	for _, named := range []error{ErrConflict, origin.ErrBegun, origin.ErrDistrust, reconcile.ErrInvalid} {
		if errors.Is(err, named) {
			return named.Error()
		}
	}
	var abort *vfs.AbortError
	if errors.As(err, &abort) {
		return "a file cannot be used as the clone has used it"
	}
	return err.Error()
}

// unquoted are the names of files in what a clone says of them.
var unquoted = regexp.MustCompile(`"(\\.|[^"\\])*("|$)`)

// cause is what lies at the bottom of an error: the names that were put before it are not in it.
func cause(err error) string {
	for {
		switch x := err.(type) {
		case interface{ Unwrap() error }:
			if next := x.Unwrap(); next != nil {
				err = next
				continue
			}
		case interface{ Unwrap() []error }:
			if list := x.Unwrap(); len(list) > 0 {
				err = list[len(list)-1]
				continue
			}
		}
		return err.Error()
	}
}

// plainly is plain of why an offload fell back, and what is left out of that.
func plainly(fb *fallback) (text, name string) {
	var private privateError
	var refused *refusal
	switch {
	case errors.As(fb, &private):
		return fb.Error(), private.name
	case errors.As(fb, &refused) && refused.plain != "" && refused.plain != refused.text:
		return fb.reason + ": " + peer.Printable(refused.plain), refused.Error()
	}
	return plain(fb), ""
}

// decided tells where a call of a candidate runs, and why.
func (c *Controller) decided(id uint32, choice Choice, reason string, d Decision, up uint64) {
	if c.cfg.Events == nil {
		return // many calls pass here
	}
	c.emit(trace.Event{
		Kind: trace.Decide, Function: name(c.proc.Manifest.Candidates[id]), Choice: choice.String(), Reason: reason,
		EstLocal: d.Local, EstClone: d.Clone, Up: up,
	})
}

// ran tells of a call that ran here.
func (c *Controller) ran(kind trace.Kind, id uint32, took time.Duration) {
	if c.cfg.Events != nil {
		c.emit(trace.Event{Kind: kind, Function: name(c.proc.Manifest.Candidates[id]), Took: took})
	}
}

// emit hands out an event of the trip.
func (t *trip) emit(e trace.Event) {
	if t.c.cfg.Events != nil {
		e.Function, e.Offload = name(t.cand), t.attempt.Offload
		t.c.emit(e)
	}
}

func (c *Cloud) emit(e trace.Event) {
	if c.Events != nil {
		e.At = time.Since(c.Begin)
		c.Events(e)
	}
}

// peerConfig is Peer, with its links watched if anybody listens.
func (c *Cloud) peerConfig() peer.Config {
	cfg := c.Peer
	if c.Events != nil {
		cfg.Watch = c.saw
	}
	return cfg
}

// saw tells of what happens on the links.
func (c *Cloud) saw(s peer.Sight) {
	switch s.What {
	case peer.SawSent:
		c.emit(trace.Event{Kind: trace.FrameSent, Op: s.Type.String(), Up: uint64(s.Bytes)})
	case peer.SawReceived:
		c.emit(trace.Event{Kind: trace.FrameReceived, Op: s.Type.String(), Down: uint64(s.Bytes)})
	case peer.SawLinkLost:
		c.emit(trace.Event{Kind: trace.LinkLost, Text: peer.Printable(s.Err.Error()), RTT: s.RTT, Rate: s.Rate})
	case peer.SawLinkBack:
		c.emit(trace.Event{Kind: trace.LinkBack, Took: s.Away, RTT: s.RTT, Rate: s.Rate})
	}
}
