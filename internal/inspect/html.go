package inspect

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/clonecloud/clonecloud/internal/trace"
)

// Bounds of what a page draws.
const (
	htmlSpans     = 2000 // the longest
	htmlMarks     = 200  // losses
	htmlRows      = 8    // of nested spans in a lane; deeper ones are drawn in the last
	htmlFunctions = 200
	rowHeight     = 22
	wide          = 3 // percent of the width from which on a span has its name in it
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template takes. All strings are escaped by it.
type page struct {
	Style              template.CSS
	Script             template.JS
	Policy             string
	Title              string
	Lines              []string
	Parts              []pagePart
	Lanes              []pageLane
	Ticks              []pageTick
	Marks              []pageSpan
	Note               string
	Functions          []pageFunction
	MoreFunctions      int
	Fallbacks          []pageFallback
	MoreFallbacks      int
	Counts             []string
	Height, AxisHeight int
}

type pagePart struct{ Name, Class, Took, Share string }

type pageLane struct {
	Name      string
	Y, Height int
	Spans     []pageSpan
}

// pageSpan has places as percent of the width.
type pageSpan struct {
	X, Width, Class, Name, Title string
	Y                            int
	Named                        bool
}

type pageTick struct {
	X, Label string
	Minor    bool
}

type pageFunction struct {
	Name, Device, Clone, Took, Up, Down, Kept, Fallbacks string
	Calls, Offloads, HomeCalls                           int
}

type pageFallback struct {
	At, Function, Took, Text string
	Offload                  uint64
}

// hash names a text to the page's content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WriteHTML writes the run as one page that needs nothing else: figures, and of a trace a timeline.
func (s *Summary) WriteHTML(w io.Writer) error {
	p := &page{
		Style: template.CSS(pageStyle), Script: template.JS(pageScript),
		Policy: "default-src 'none'; base-uri 'none'; form-action 'none'; style-src " + hash(pageStyle) + "; script-src " + hash(pageScript),
		Title:  fmt.Sprintf("CloneCloud run of %.12s", orUnknown(trace.Clean(s.Module))),
		Lines:  s.lines(), Parts: s.pageParts(), Functions: s.pageFunctions(),
		MoreFunctions: max(len(s.Functions)-htmlFunctions, 0),
	}
	for _, f := range s.Fallbacks {
		p.Fallbacks = append(p.Fallbacks, pageFallback{short(f.At), trace.Clean(f.Function), short(f.Took), trace.Clean(f.Text), f.Offload})
	}
	p.MoreFallbacks = s.GivenUp - len(s.Fallbacks)
	for _, e := range s.counts {
		if !e.Fine() && len(p.Counts) < htmlMarks {
			p.Counts = append(p.Counts, e.String())
		}
	}
	s.timeline(p)
	return pageTemplate.Execute(w, p)
}

// lines are the summary's sentences.
func (s *Summary) lines() []string {
	lines := []string{fmt.Sprintf("Module %s on %s, clone on %s.", orUnknown(trace.Clean(s.Module)), orUnknown(trace.Clean(s.Engine)), orNone(trace.Clean(s.Cloud)))}
	if s.End != "" {
		lines = append(lines, "It ended: "+trace.Clean(s.End)+".")
	}
	if !s.Complete {
		lines = append(lines, "The trace ends before the run does: it was killed, or goes on.")
	}
	if s.Stay != "" {
		lines = append(lines, "On the device: "+trace.Clean(s.Stay)+".")
	}
	lines = append(lines, fmt.Sprintf("%s in all; %s, %s; %.0f %% of the guest's time on the clone.", short(s.Wall), counted(s.Offloads, "offload"),
		counted(s.GivenUp, "fallback"), 100*s.Share))
	l := &s.Link
	text := fmt.Sprintf("Link: %s up, %s down", size(l.Up), size(l.Down))
	if l.RTT > 0 {
		text += ", round trip " + short(l.RTT)
	}
	if l.Rate > 0 {
		text += ", " + size(uint64(l.Rate)) + " a second"
	}
	return append(lines, fmt.Sprintf("%s; lost %s, back %s.", text, counted(l.Lost, "time"), counted(l.Resumed, "time")))
}

func (s *Summary) pageParts() []pagePart {
	t := &s.Time
	all := append([]part{{"start-up", t.Start}, {"on the device", t.Device}, {"waiting for a clone", t.Waited}}, t.parts()...)
	classes := []string{"start", "local", "wait", "capture", "send", "run", "home", "receive", "merge", "rest"}
	var parts []pagePart
	for i, p := range all {
		if p.d <= 0 {
			continue
		}
		share := ""
		if s.Wall > 0 {
			share = fmt.Sprintf("%.1f %%", 100*float64(p.d)/float64(s.Wall))
		}
		parts = append(parts, pagePart{p.name, classes[i], short(p.d), share})
	}
	return parts
}

func (s *Summary) pageFunctions() []pageFunction {
	var fs []pageFunction
	for _, f := range s.Functions[:min(len(s.Functions), htmlFunctions)] {
		fs = append(fs, pageFunction{
			Name: trace.Clean(f.Name), Device: short(f.Device), Clone: short(f.Clone), Took: short(f.Took), Up: size(f.Up), Down: size(f.Down),
			Kept: reasons(f.Kept), Fallbacks: reasons(f.Fallbacks), Calls: f.Calls, Offloads: f.Offloads, HomeCalls: f.HomeCalls,
		})
	}
	return fs
}

// percent is a place on the time axis.
func (s *Summary) percent(d time.Duration) float64 {
	if s.Wall <= 0 {
		return 0
	}
	return min(100*float64(d)/float64(s.Wall), 100)
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) + "%" }

// timeline draws the longest spans.
func (s *Summary) timeline(p *page) {
	if s.Source != "trace" {
		p.Note = "This is a report, which has sums alone. A trace (run --trace FILE) has the timeline."
		return
	}
	spans := longest(s.spans)
	p.Note = fmt.Sprintf("All %d spans of the trace are drawn.", len(spans))
	if n := len(s.spans); n > len(spans) {
		p.Note = fmt.Sprintf("The longest %d of the %d spans of the trace are drawn.", len(spans), n)
	}
	if len(s.counts) > 0 {
		p.Note += " Repeats that the trace only counts are not."
	}
	y := 0
	for lane, name := range laneNames {
		rows := 1
		for i := range spans {
			if spans[i].lane == lane {
				rows = max(rows, min(spans[i].depth, htmlRows-1)+1)
			}
		}
		l := pageLane{Name: name, Y: y, Height: rows * rowHeight}
		for i := range spans {
			if spans[i].lane == lane {
				l.Spans = append(l.Spans, s.pageSpan(&spans[i], y))
			}
		}
		y += l.Height + rowHeight/2
		p.Lanes = append(p.Lanes, l)
	}
	for _, l := range s.losses[:min(len(s.losses), htmlMarks)] {
		p.Marks = append(p.Marks, pageSpan{X: decimal(s.percent(l.at)), Title: fmt.Sprintf("%s: %s", short(l.at), l.text)})
	}
	const ticks = 100
	for i := range ticks {
		at := s.Wall * time.Duration(i) / ticks
		p.Ticks = append(p.Ticks, pageTick{X: decimal(float64(i)), Label: short(at), Minor: i%10 != 0})
	}
	p.Height, p.AxisHeight = y+rowHeight, y
}

func (s *Summary) pageSpan(x *span, y int) pageSpan {
	from := s.percent(x.start)
	width := max(s.percent(x.end)-from, 0.01) // a browser draws nothing of no width
	return pageSpan{
		X: decimal(from), Width: decimal(width), Class: x.kind, Name: cut(trace.Clean(x.name), 80), Named: width >= wide,
		Y:     y + min(x.depth, htmlRows-1)*rowHeight,
		Title: fmt.Sprintf("%s: %s, from %s for %s. %s", laneNames[x.lane], trace.Clean(x.name), short(x.start), short(x.took()), x.text),
	}
}

// longest keeps the spans that took longest, in their order.
func longest(spans []span) []span {
	if len(spans) <= htmlSpans {
		return spans
	}
	order := make([]int, len(spans))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return sign(spans[b].took() - spans[a].took()) })
	order = order[:htmlSpans]
	slices.Sort(order)
	kept := make([]span, 0, htmlSpans)
	for _, i := range order {
		kept = append(kept, spans[i])
	}
	return kept
}
