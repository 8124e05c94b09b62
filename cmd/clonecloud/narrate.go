package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/clonecloud/clonecloud"
)

const (
	sayAlike = 3                // equal decisions of a function that are said one by one
	sayAgain = 10 * time.Second // how long counted ones may go unsaid
	sayDepth = 64               // open decisions of a function
)

// narrator says what is decided and what came of it: one line for each call, of many alike only how many.
type narrator struct {
	say func(format string, args ...any)

	mu        sync.Mutex
	functions map[string]*story // guarded by mu
}

// story is what has been said of a function.
type story struct {
	open  []clonecloud.Event // decisions whose outcome is not known yet
	alike string             // what the last line was, but for its figures
	said  int                // lines like it
	more  int                // like it, unsaid
	took  time.Duration      // of these
	since time.Duration      // when something was said last
}

// event takes an event of the run.
func (n *narrator) event(e clonecloud.Event) {
	if e.Fine() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e.Kind {
	case "begin", "end":
	case "upload":
		if e.Done >= e.Total {
			n.say("the program was sent to the node: %d bytes", e.Total)
		}
	case "decide":
		n.decide(e)
	case "local", "offloaded", "fallback", "replayed":
		n.ended(e)
	default:
		n.say("%v", e)
	}
}

func (n *narrator) of(function string) *story {
	if n.functions == nil {
		n.functions = map[string]*story{}
	}
	s := n.functions[function]
	if s == nil {
		s = &story{}
		n.functions[function] = s
	}
	return s
}

// decide keeps a decision until its outcome is known. What will have none is said at once.
func (n *narrator) decide(e clonecloud.Event) {
	s := n.of(e.Function)
	if e.Choice == "disarm" || e.Reason == "kept local" || e.Reason == "handed back" {
		n.line(s, &e, nil)
		return
	}
	if len(s.open) == sayDepth { // of a module whose tail calls do not report their returns
		n.line(s, &s.open[0], nil)
		s.open = slices.Delete(s.open, 0, 1)
	}
	s.open = append(s.open, e)
}

// ended says a decision with its outcome.
func (n *narrator) ended(e clonecloud.Event) {
	s := n.of(e.Function)
	if e.Kind == "replayed" || len(s.open) == 0 {
		n.flush(e.Function, s)
		n.say("%v", e)
		return
	}
	d := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	n.line(s, &d, &e)
}

// line says a decision, and its outcome if it is known.
func (n *narrator) line(s *story, d, end *clonecloud.Event) {
	alike, text, took := d.Choice+" "+d.Reason, d.String(), time.Duration(0)
	if end != nil {
		alike += " " + string(end.Kind) + " " + end.Reason
		text += "; " + strings.TrimPrefix(end.String(), printable(end.Function)+": ")
		took = end.Took
	}
	if alike != s.alike {
		n.flush(d.Function, s)
		s.alike, s.said = alike, 0
	}
	if s.said < sayAlike {
		s.said++
		s.since = d.At
		n.say("%s", text)
		return
	}
	s.more++
	s.took += took
	if d.At-s.since > sayAgain {
		n.flush(d.Function, s)
		s.since = d.At
	}
}

// flush says what was only counted.
func (n *narrator) flush(function string, s *story) {
	if s.more == 0 {
		return
	}
	choice, _, _ := strings.Cut(s.alike, " ")
	text := fmt.Sprintf("%s: %s, %s more times", printable(function), choice, thousands(s.more))
	if s.more == 1 {
		text = fmt.Sprintf("%s: %s, once more", printable(function), choice)
	}
	if s.took > 0 {
		text += fmt.Sprintf(", %v in all", s.took.Round(time.Microsecond))
	}
	n.say("%s", text)
	s.more, s.took = 0, 0
}

// close says what is left to say.
func (n *narrator) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(n.functions)) {
		s := n.functions[name]
		n.flush(name, s)
		if len(s.open) > 0 {
			n.say("%v; it did not return", s.open[len(s.open)-1])
		}
	}
	n.functions = nil
}

// thousands writes a number in groups of three digits.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// printable makes a name that a module gives fit for a line on a terminal.
func printable(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		if unicode.IsSpace(r) {
			return ' '
		}
		return '?'
	}, s)
}
