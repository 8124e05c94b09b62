package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/trace"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func open(t testing.TB, name string) *Summary {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func text(t testing.TB, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	run, report := open(t, "run.trace"), open(t, "report.json")
	for name, write := range map[string]func(io.Writer) error{
		"run.txt": run.WriteText, "run.json": run.WriteJSON, "run.html": run.WriteHTML, "run.chrome.json": run.WriteChrome,
		"report.txt": report.WriteText, "report.out.json": report.WriteJSON, "report.html": report.WriteHTML,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name)
			got := text(t, write)
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs from what is written; -rewrite takes it. Got:\n%s", path, got)
			}
		})
	}
}

// TestFigures: the parts of a trace add up.
func TestFigures(t *testing.T) {
	s := open(t, "run.trace")
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	want := Times{
		Start: ms(20), Device: ms(250), Waited: ms(29), Capture: ms(1.5), Send: ms(3), Run: ms(20), Home: ms(1), Receive: ms(3), Transfer: ms(6),
		Merge: ms(1), Rest: ms(42 + 49 - 1.5 - 6 - 20 - 1 - 1), GivenUp: ms(49),
	}
	if s.Time != want {
		t.Errorf("times %+v, want %+v", s.Time, want)
	}
	if s.Offloads != 1 || s.GivenUp != 1 || !s.Complete || s.Link.Lost != 2 || s.Link.Resumed != 1 || s.Link.Away != ms(20) || s.Link.Rate != 2.5e6 {
		t.Errorf("summary %+v", s)
	}
	hot := s.Functions[len(s.Functions)-2]
	for _, f := range s.Functions {
		if f.Name == "hot" {
			hot = f
		}
	}
	if hot.Calls != 5001 || hot.Kept["policy"] != 5001 || hot.Device != ms(21) {
		t.Errorf("what was counted is %+v", hot)
	}
}

// TestIncomplete: of a run that was killed the summary says what is known.
func TestIncomplete(t *testing.T) {
	b, err := os.ReadFile("testdata/run.trace")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(`"merge"`))
	s, err := Read(bytes.NewReader(b[:at]))
	if err != nil {
		t.Fatal(err)
	}
	if s.Complete || s.Wall != 93*time.Millisecond || s.Time.Run != 20*time.Millisecond {
		t.Errorf("summary %+v", s)
	}
	for name, write := range map[string]func(io.Writer) error{"text": s.WriteText, "html": s.WriteHTML} {
		if got := text(t, write); !strings.Contains(got, "it was killed") {
			t.Errorf("%s does not say that the run was killed:\n%s", name, got)
		}
	}
}

// TestPage: the page needs nothing from elsewhere, its policy lets its own style and script pass and nothing else, and
// names that a module gives are text.
func TestPage(t *testing.T) {
	page := text(t, open(t, "run.trace").WriteHTML)
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatch(page)
	if policy == nil || !strings.HasPrefix(policy[1], "default-src &#39;none&#39;;") {
		t.Fatalf("policy %q", policy)
	}
	for _, tag := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(page, -1)
		if len(found) != 1 {
			t.Fatalf("%d elements %s", len(found), tag)
		}
		if want := tag + "-src " + hash(found[0][1]); !strings.Contains(html.UnescapeString(policy[1]), want) {
			t.Errorf("policy %s has no %s", policy[1], want)
		}
	}
	for _, bad := range []string{"alert(1)</script>", "<b>cut", "\x1b", " src=", " href=", "url(", "@import", " style=", " onclick"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(page, "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the hostile name is not shown as it is")
	}
	for _, class := range []string{"start", "wait", "local", "offload", "capture", "send", "run", "home", "output", "receive", "merge", "failed", "lost", "replay", "outage", "upload", "compile", "mark"} {
		if !regexp.MustCompile(`class="(thin )?` + class + `"`).MatchString(page) {
			t.Errorf("nothing of class %s is drawn", class)
		}
	}
}

// TestChrome holds the export to the format: each line an event, spans nested, arrows in pairs.
func TestChrome(t *testing.T) {
	var events []map[string]any
	if err := json.Unmarshal([]byte(text(t, open(t, "run.trace").WriteChrome)), &events); err != nil {
		t.Fatal(err)
	}
	arrows, ends, pids := map[any]int{}, 0, map[any]bool{}
	for _, e := range events {
		for _, k := range []string{"name", "ph", "ts", "pid", "tid"} {
			if _, ok := e[k]; !ok {
				t.Errorf("%v has no %s", e, k)
			}
		}
		switch e["ph"] {
		case "X":
			pids[e["pid"]] = true
			if d, ok := e["dur"].(float64); !ok || d < 0 {
				t.Errorf("%v has no duration", e)
			}
		case "s", "f":
			arrows[e["id"]]++
			if e["ph"] == "f" {
				ends++
			}
		}
	}
	if len(pids) != 2 {
		t.Errorf("processes %v, want device and clone", pids)
	}
	if fmt.Sprint(arrows) != "map[2:2 3:2 4:2]" || ends != 3 {
		t.Errorf("arrows %v", arrows)
	}
	if err := open(t, "report.json").WriteChrome(io.Discard); !errors.Is(err, ErrNoEvents) {
		t.Errorf("a report is drawn: %v", err)
	}
}

// TestBigTrace: of very many spans the page draws the longest, and says so.
func TestBigTrace(t *testing.T) {
	var b bytes.Buffer
	w, err := trace.NewWriter(&b, trace.Header{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		w.Emit(trace.Event{At: time.Duration(i+1) * time.Millisecond, Kind: trace.Local, Function: fmt.Sprint("f", i%50), Took: time.Duration(i%1000) * time.Microsecond})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	page := text(t, s.WriteHTML)
	if !strings.Contains(page, "The longest 2000 of the 20000 spans of the trace are drawn.") {
		t.Error("the page does not say what it leaves out")
	}
	if n := strings.Count(page, "thin local"); n != htmlSpans {
		t.Errorf("%d spans are drawn, want %d", n, htmlSpans)
	}
	if strings.Contains(page, "for 100 us.") {
		t.Error("a short span is drawn where longer ones are not")
	}
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	lines := strings.Count(text(t, s.WriteText), "\n")
	if lines > 24 {
		t.Errorf("the text has %d lines, a screen 24", lines)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, want string
		err        error
	}{
		"empty":     {"", "it is empty", ErrInput},
		"text":      {"hello", "byte 1", ErrInput},
		"json":      {`{"a":1}`, "without the fields of a report", ErrInput},
		"list":      {`[1]`, "cannot unmarshal", ErrInput},
		"later":     {`{"version":9,"wall_ns":1}`, "version 9; it reads up to 1", ErrInput},
		"trace":     {`{"format":"clonecloud trace","version":9}`, "version 9", trace.ErrFormat},
		"bad_trace": {`{"format":"clonecloud trace","version":1}` + "\nx\nx\n", "line 2", trace.ErrFormat},
	} {
		_, err := Read(strings.NewReader(c.file))
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// FuzzRead: whatever the file says, it is refused or shown in each form.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"run.trace", "report.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"format":"clonecloud trace","version":1}` + "\n" + `{"at_ns":9223372036854775807,"kind":"offloaded","took_ns":9223372036854775807,"up":18446744073709551615}` +
		"\n" + `{"at_ns":9223372036854775807,"kind":"local","took_ns":9223372036854775807}`))
	f.Add([]byte(`{"version":1,"wall_ns":-5,"share":-1e300,"functions":[{"calls":1,"kept":{"a":-5}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, write := range []func(io.Writer) error{s.WriteText, s.WriteJSON, s.WriteHTML} {
			text(t, write)
		}
		if s.Source == "trace" {
			if !json.Valid([]byte(text(t, s.WriteChrome))) {
				t.Error("the export is no JSON")
			}
		}
		if strings.Contains(text(t, s.WriteText), "\x1b") {
			t.Error("an escape sequence gets through")
		}
	})
}
