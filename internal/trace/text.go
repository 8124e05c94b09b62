package trace

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// String is the event in one line, for people. Names and texts of others are in it in a form that is fit for a terminal.
func (e Event) String() string {
	for _, s := range []*string{&e.Function, &e.Choice, &e.Reason, &e.Op, &e.Text, &e.Name} {
		*s = Clean(*s)
	}
	var b strings.Builder
	if e.Function != "" {
		b.WriteString(e.Function + ": ")
	}
	b.WriteString(e.what())
	if e.Name != "" {
		b.WriteString(": " + e.Name)
	}
	if e.Count > 0 {
		fmt.Fprintf(&b, " (%d times from %v on, in all)", e.Count, us(e.From))
	}
	return b.String()
}

func us(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

// what is the line without the function. Preconditions: the texts are clean.
func (e *Event) what() string {
	text := e.Text
	switch e.Kind {
	case Begin:
		return fmt.Sprintf("the program begins on %s after %v", text, us(e.Took))
	case End:
		return fmt.Sprintf("the run ended after %v: %s", us(e.Took), text)
	case Decide:
		return e.decision()
	case Waited:
		if e.Final {
			return fmt.Sprintf("waited %v for a clone, in vain", us(e.Took))
		}
		return fmt.Sprintf("waited %v for a clone", us(e.Took))
	case Local:
		return fmt.Sprintf("ran here in %v", us(e.Took))
	case Offloaded:
		return fmt.Sprintf("offloaded in %v, %v of it running, %d bytes up, %d down, %d home calls", us(e.Took), us(e.Exec), e.Up, e.Down, e.HomeCalls)
	case Fallback:
		return fmt.Sprintf("fell back after %v: %s", us(e.Took), text)
	case Replayed:
		return fmt.Sprintf("ran here in its place in %v", us(e.Took))
	case Stay:
		return "nothing leaves the device from here on: " + text
	case Forgot:
		return fmt.Sprintf("forgot %d calls of clones that had no effect and were not repeated", e.HomeCalls)
	case Conflict:
		return "files were changed here and on the clone"
	case Upload, Prepare, Ready, Lost, Connected, LinkLost, LinkBack:
		return e.way()
	}
	return e.inner()
}

func (e *Event) decision() string {
	s := e.Choice
	if e.Reason != "" && e.Reason != "policy" {
		s += " (" + e.Reason + ")"
	}
	switch {
	case e.EstClone > 0:
		s += fmt.Sprintf(", since here takes about %v and the clone about %v", us(e.EstLocal), us(e.EstClone))
	case e.EstLocal > 0:
		s += fmt.Sprintf("; here it takes about %v", us(e.EstLocal))
	}
	return s
}

// way is the line of an event of the way to a clone.
func (e *Event) way() string {
	text := e.Text
	switch e.Kind {
	case Connected:
		return fmt.Sprintf("connected in %v", us(e.Took))
	case Upload:
		return fmt.Sprintf("module: %d of %d bytes uploaded", e.Done, e.Total)
	case Prepare:
		return "the node makes the program's code ready; no call moves before"
	case Ready:
		return "a clone is ready: " + text
	case Lost:
		return "no clone: " + text
	case LinkLost:
		return "the link failed: " + text
	default:
		return fmt.Sprintf("the link is back after %v", us(e.Took))
	}
}

// inner is the line of an event that is Fine.
func (e *Event) inner() string {
	switch e.Kind {
	case FrameSent:
		return fmt.Sprintf("frame %s sent, %d bytes", e.Op, e.Up)
	case FrameReceived:
		return fmt.Sprintf("frame %s received, %d bytes", e.Op, e.Down)
	case Synced:
		return fmt.Sprintf("the clone said where it stands in %v, %d pages written", us(e.Took), e.Pages)
	case Depart:
		return fmt.Sprintf("captured in %v, %d pages", us(e.Took), e.Pages)
	case Sent:
		return fmt.Sprintf("sent in %v, %d bytes", us(e.Took), e.Up)
	case Pinned:
		return fmt.Sprintf("files pinned in %v", us(e.Took))
	case FilesGiven:
		return fmt.Sprintf("files for the clone in %v, %d bytes", us(e.Took), e.Up)
	case HomeCall:
		return fmt.Sprintf("%s for the clone in %v, %d bytes in, %d out", e.Op, us(e.Took), e.Down, e.Up)
	case Output:
		return fmt.Sprintf("%d bytes of output written in %v", e.Down, us(e.Took))
	case Note:
		return e.Op + " on the clone"
	case Back:
		return fmt.Sprintf("the clone ran for %v", us(e.Exec))
	case Received:
		return fmt.Sprintf("received in %v, %d bytes", us(e.Took), e.Down)
	case Merge:
		return fmt.Sprintf("merged in %v, %d pages, %d bytes", us(e.Took), e.Pages, e.Down)
	}
	return Clean(string(e.Kind) + " " + e.Text)
}

// Clean makes a text that a module or a node has given fit for one line on a terminal: printable and not long.
func Clean(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return '?'
	}, s)
}
