package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud"
)

const (
	screenDelay = 500 * time.Millisecond // that something takes before it is shown
	screenEvery = 200 * time.Millisecond // how often what is shown changes
)

// screen shows on a terminal what a run waits for, in one line that is drawn again and again and gone before anything else
// is written. A nil screen shows nothing.
//
// Events only note what goes on; a timer draws. So no event waits for the terminal, which may have been paused.
type screen struct {
	out     *os.File
	timer   *time.Timer
	columns func(*os.File) (int, bool)

	mu       sync.Mutex // guards what follows
	upload   stage
	prepare  stage
	away     stage
	function string // that is away
	sent     uint64
	total    uint64

	terminal sync.Mutex // guards what follows; before mu
	drawn    int        // columns of the line that stands there
	midline  bool       // what was written last ended no line: nothing may be drawn
	closed   bool
}

// stage is something that takes time. The zero stage is not going on.
type stage struct{ since time.Time }

func (s *stage) start() {
	if s.since.IsZero() {
		s.since = time.Now()
	}
}

func (s *stage) end() { s.since = time.Time{} }

// openScreen returns a screen on stderr, if that is a terminal, and the writers to use in place of stdout and stderr.
func openScreen(stdout, stderr io.Writer) (*screen, io.Writer, io.Writer) {
	f, ok := stderr.(*os.File)
	if !ok || f == nil || os.Getenv("TERM") == "dumb" {
		return nil, stdout, stderr
	}
	if _, ok := columns(f); !ok {
		return nil, stdout, stderr
	}
	s := &screen{out: f, columns: columns}
	s.timer = time.AfterFunc(time.Hour, s.tick)
	s.timer.Stop()
	stderr = &onScreen{s, f}
	if o, ok := stdout.(*os.File); ok && sameFile(o, f) {
		stdout = &onScreen{s, o}
	}
	return s, stdout, stderr
}

func sameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// event notes what goes on.
func (s *screen) event(e clonecloud.Event) {
	switch e.Kind {
	case "upload", "prepare", "ready", "lost", "depart", "offloaded", "fallback", "end":
	default:
		return // of which there may be many
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := s.busy()
	switch e.Kind {
	case "upload":
		s.upload.start()
		if s.sent, s.total = e.Done, e.Total; e.Done >= e.Total {
			s.upload.end()
		}
	case "prepare":
		s.upload.end()
		s.prepare.start()
	case "ready", "lost":
		s.upload.end()
		s.prepare.end()
	case "depart":
		s.away.start()
		s.function = e.Function
	case "offloaded", "fallback":
		s.away.end()
	case "end":
		s.upload.end()
		s.prepare.end()
		s.away.end()
	}
	switch {
	case !busy && s.busy():
		s.timer.Reset(screenDelay)
	case busy && !s.busy():
		s.timer.Reset(0) // what is shown is over
	}
}

// busy tells whether there is something to wait for. mu is held.
func (s *screen) busy() bool {
	return !s.upload.since.IsZero() || !s.prepare.since.IsZero() || !s.away.since.IsZero()
}

// text is what to show now, and whether to look again.
func (s *screen) text(now time.Time) (text string, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []struct {
		stage *stage
		text  func(took string) string
	}{
		{&s.away, func(took string) string { return printable(s.function) + " runs on the clone, " + took }},
		{&s.upload, func(took string) string {
			return fmt.Sprintf("sending the program to the node: %s of %s, %s", bytesText(s.sent), bytesText(s.total), took)
		}},
		{&s.prepare, func(took string) string { return "the node compiles the program, " + took }},
	} {
		if took := now.Sub(c.stage.since); !c.stage.since.IsZero() && took >= screenDelay {
			return "clonecloud: " + c.text(fmt.Sprintf("%.0f s", took.Seconds())), true
		}
	}
	return "", s.busy()
}

// tick draws or erases the line.
func (s *screen) tick() {
	text, again := s.text(time.Now())
	if s.terminal.TryLock() { // who writes now may be held up for long
		if s.erase(); text != "" && !s.midline && !s.closed {
			s.draw(text)
		}
		again = again && !s.closed
		s.terminal.Unlock()
	} else {
		again = true
	}
	if again {
		s.timer.Reset(screenEvery)
	}
}

// draw shows a line, cut to what fits. terminal is held.
func (s *screen) draw(text string) {
	width, ok := s.columns(s.out)
	if !ok {
		return
	}
	if width == 0 {
		width = 80
	}
	line := []rune(text)
	line = line[:min(len(line), max(width-1, 0))]
	if _, err := s.out.WriteString("\r" + string(line)); err == nil {
		s.drawn = len(line)
	}
}

// erase removes the line. terminal is held.
func (s *screen) erase() {
	if s.drawn > 0 {
		s.out.WriteString("\r" + strings.Repeat(" ", s.drawn) + "\r")
		s.drawn = 0
	}
}

// close erases the line, and shows no more.
func (s *screen) close() {
	if s == nil {
		return
	}
	s.timer.Stop()
	s.terminal.Lock()
	defer s.terminal.Unlock()
	s.erase()
	s.closed = true
}

// abandon is close for a process that is about to end, while another goroutine may be writing.
func (s *screen) abandon() {
	if s != nil && s.terminal.TryLock() {
		s.erase()
		s.closed = true
		s.terminal.Unlock()
	}
}

// onScreen is a stream to the terminal of a screen.
type onScreen struct {
	s *screen
	f *os.File
}

// OSFile is the file that the stream is.
func (w *onScreen) OSFile() *os.File { return w.f }

// Write implements io.Writer.
func (w *onScreen) Write(b []byte) (int, error) {
	w.s.terminal.Lock()
	defer w.s.terminal.Unlock()
	w.s.erase()
	n, err := w.f.Write(b)
	if n > 0 {
		w.s.midline = b[n-1] != '\n'
	}
	return n, err
}

// bytesText is a number of bytes for people.
func bytesText(n uint64) string {
	const units = "kMGT"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	x, u := float64(n)/1000, 0
	for x >= 999.95 && u < len(units)-1 {
		x, u = x/1000, u+1
	}
	return fmt.Sprintf("%.1f %cB", x, units[u])
}
