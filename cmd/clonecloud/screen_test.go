package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clonecloud/clonecloud"
)

// fakeScreen is a screen of 40 columns on a file, which it returns the contents of.
func fakeScreen(t *testing.T) (*screen, *onScreen, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "terminal")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &screen{out: f, columns: func(*os.File) (int, bool) { return 40, true }}
	s.timer = time.AfterFunc(time.Hour, s.tick)
	s.timer.Stop()
	return s, &onScreen{s, f}, func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// visibleText is what a terminal shows after a text: each line as it was overwritten last, without blanks at its end.
func visibleText(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		var cells []rune
		for part := range strings.SplitSeq(line, "\r") {
			for i, r := range []rune(part) {
				if i < len(cells) {
					cells[i] = r
				} else {
					cells = append(cells, r)
				}
			}
		}
		out = append(out, strings.TrimRight(string(cells), " "))
	}
	return strings.Join(out, "\n")
}

func TestScreen(t *testing.T) {
	type step struct {
		wait  time.Duration
		event clonecloud.Event
		write string
		want  string // on the terminal then
	}
	depart := clonecloud.Event{Kind: "depart", Function: "work"}
	back := clonecloud.Event{Kind: "offloaded", Function: "work"}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"short-ones-are-not-shown", []step{{event: depart}, {wait: 400 * ms}, {event: back}, {wait: time.Second}}},
		{"many-short-ones", []step{
			{event: depart}, {wait: 400 * ms}, {event: back}, {event: depart}, {wait: 400 * ms}, {event: back}, {wait: 400 * ms},
		}},
		{"long-one", []step{
			{event: depart}, {wait: 600 * ms, want: "clonecloud: work runs on the clone, 0 s"},
			{wait: 1200 * ms, want: "clonecloud: work runs on the clone, 2 s"}, {event: back}, {wait: ms},
		}},
		{"output-erases", []step{
			{event: depart}, {wait: 600 * ms, want: "clonecloud: work runs on the clone, 0 s"},
			{write: "hello\n", want: "hello\n"}, {wait: 300 * ms, want: "hello\nclonecloud: work runs on the clone, 1 s"},
			{event: back}, {wait: ms, want: "hello\n"},
		}},
		{"nothing-behind-a-line-that-goes-on", []step{
			{event: depart}, {wait: 600 * ms, want: "clonecloud: work runs on the clone, 0 s"},
			{write: "50 %", want: "50 %"}, {wait: time.Second, want: "50 %"},
			{write: "\n", want: "50 %\n"}, {wait: 300 * ms, want: "50 %\nclonecloud: work runs on the clone, 2 s"},
		}},
		{"upload", []step{
			{event: clonecloud.Event{Kind: "upload", Done: 1000, Total: 2_500_000}},
			{wait: 600 * ms, want: "clonecloud: sending the program to the"}, // cut to the width
			{event: clonecloud.Event{Kind: "prepare"}}, {wait: 300 * ms},
			{wait: 400 * ms, want: "clonecloud: the node compiles the progr"},
			{event: clonecloud.Event{Kind: "ready"}}, {wait: ms},
		}},
		{"names-are-harmless", []step{
			{event: clonecloud.Event{Kind: "depart", Function: "a\x1b[2Jb\n"}}, {wait: 600 * ms, want: "clonecloud: a?[2Jb  runs on the clone,"},
		}},
		{"end", []step{{event: depart}, {wait: 600 * ms, want: "clonecloud: work runs on the clone, 0 s"}, {event: clonecloud.Event{Kind: "end"}}, {wait: ms}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, text := fakeScreen(t)
				for i, st := range tt.steps {
					if st.wait > 0 {
						time.Sleep(st.wait)
						synctest.Wait()
					}
					if st.event.Kind != "" {
						s.event(st.event)
						continue
					}
					if st.write != "" {
						if _, err := w.Write([]byte(st.write)); err != nil {
							t.Fatal(err)
						}
					}
					if got := visibleText(text()); got != st.want {
						t.Fatalf("step %d: got %q, want %q", i, got, st.want)
					}
				}
				s.close()
				if got := visibleText(text()); strings.Contains(got, "clonecloud") {
					t.Errorf("after close: got %q", got)
				}
				s.event(depart)
				time.Sleep(time.Second)
				synctest.Wait()
				if got := visibleText(text()); strings.Contains(got, "clonecloud") {
					t.Errorf("long after close: got %q", got)
				}
			})
		})
	}
}

func TestNoScreen(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	if s, stdout, stderr := openScreen(f, f); s != nil || stdout != f || stderr != f {
		t.Errorf("a file is taken for a terminal")
	}
	if s, _, stderr := openScreen(f, &b); s != nil || stderr != &b {
		t.Errorf("a buffer is taken for a terminal")
	}
	var none *screen
	none.close()
	none.abandon()
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 37_289: "37.3 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 5e9: "5.0 GB", 7e15: "7000.0 TB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
