package inspect

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clonecloud/clonecloud/internal/trace"
)

// Bounds of the page of text: one screen.
const (
	textFunctions = 12
	textFallbacks = 6
)

// WriteText writes a page for people.
func (s *Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	s.headline(&b)
	s.where(&b)
	s.link(&b)
	s.table(&b)
	s.fallbacks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Summary) headline(b *strings.Builder) {
	fmt.Fprintf(b, "run of module %.12s", orUnknown(trace.Clean(s.Module)))
	fmt.Fprintf(b, " on %s, clone on %s", orUnknown(trace.Clean(s.Engine)), orNone(trace.Clean(s.Cloud)))
	if s.End != "" {
		b.WriteString(": " + trace.Clean(s.End))
	}
	b.WriteByte('\n')
	if !s.Complete {
		b.WriteString("the trace ends before the run does: it was killed, or goes on\n")
	}
	if s.Stay != "" {
		b.WriteString("on the device: " + trace.Clean(s.Stay) + "\n")
	}
}

func orUnknown(s string) string { return or(s, "unknown") }
func orNone(s string) string    { return or(s, "none") }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// part is a figure with its name.
type part struct {
	name string
	d    time.Duration
}

// parts says where the time of the offloads went.
func (t *Times) parts() []part {
	rest := "link and waiting"
	transfer := []part{{"transfer up", t.Send}, {"transfer down", t.Receive}}
	if t.Send+t.Receive == 0 {
		transfer = []part{{"transfer", t.Transfer}, {}}
		rest = "home calls, link and waiting"
	}
	return []part{{"capture", t.Capture}, transfer[0], {"run on the clone", t.Run}, {"home calls", t.Home}, transfer[1], {"merge", t.Merge}, {rest, t.Rest}}
}

func (s *Summary) where(b *strings.Builder) {
	t := &s.Time
	fmt.Fprintf(b, "\n%s in all: start-up %s, on the device %s, offloads %s", short(s.Wall), short(t.Start), short(t.Device), short(t.offloads()))
	if t.Waited > 0 {
		fmt.Fprintf(b, ", waiting for a clone %s", short(t.Waited))
	}
	b.WriteByte('\n')
	if t.offloads() > 0 {
		var words []string
		for _, p := range t.parts() {
			if p.d > 0 {
				words = append(words, p.name+" "+short(p.d))
			}
		}
		b.WriteString("offloads: " + strings.Join(words, ", ") + "\n")
	}
	fmt.Fprintf(b, "%s, %s", counted(s.Offloads, "offload"), counted(s.GivenUp, "fallback"))
	if t.GivenUp > 0 {
		fmt.Fprintf(b, " (%s for nothing)", short(t.GivenUp))
	}
	fmt.Fprintf(b, ", %.0f %% of the guest's time on the clone\n", 100*s.Share)
}

func (s *Summary) link(b *strings.Builder) {
	l := &s.Link
	fmt.Fprintf(b, "link: %s up, %s down", size(l.Up), size(l.Down))
	if l.FramesUp+l.FramesDown > 0 {
		fmt.Fprintf(b, " in %d and %d frames", l.FramesUp, l.FramesDown)
	}
	if l.RTT > 0 {
		fmt.Fprintf(b, ", round trip %s", short(l.RTT))
	}
	if l.Rate > 0 {
		fmt.Fprintf(b, ", %s a second", size(uint64(l.Rate)))
	}
	switch {
	case l.Lost > 0:
		fmt.Fprintf(b, "; lost %s, back %s after %s in all", counted(l.Lost, "time"), counted(l.Resumed, "time"), short(l.Away))
	case l.Resumed > 0:
		fmt.Fprintf(b, "; resumed %s", counted(l.Resumed, "time"))
	}
	b.WriteByte('\n')
}

// table has a line for each of the functions that took most.
func (s *Summary) table(b *strings.Builder) {
	if len(s.Functions) == 0 {
		return
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "function\tcalls\toffloads\tback\tdevice\tclone\tup\tdown\thome calls\tstayed because")
	for _, f := range s.Functions[:min(len(s.Functions), textFunctions)] {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%d\t%s\n", cut(trace.Clean(f.Name), 40), f.Calls, f.Offloads, f.back(), short(f.Device),
			short(f.Clone), size(f.Up), size(f.Down), f.HomeCalls, reasons(f.Kept))
	}
	w.Flush()
	if n := len(s.Functions) - textFunctions; n > 0 {
		fmt.Fprintf(b, "and %s that took less; --json has all\n", counted(n, "function"))
	}
}

func (s *Summary) fallbacks(b *strings.Builder) {
	if s.GivenUp == 0 {
		return
	}
	b.WriteString("\nfallbacks:\n")
	if len(s.Fallbacks) == 0 { // of a report: counts alone
		for _, f := range s.Functions {
			if f.back() > 0 {
				fmt.Fprintf(b, "  %s: %s\n", cut(trace.Clean(f.Name), 40), reasons(f.Fallbacks))
			}
		}
		return
	}
	shown := s.Fallbacks[:min(len(s.Fallbacks), textFallbacks)]
	for _, f := range shown {
		fmt.Fprintf(b, "  at %s, %s, offload %d, after %s: %s\n", short(f.At), cut(trace.Clean(f.Function), 40), f.Offload, short(f.Took), cut(trace.Clean(f.Text), 160))
	}
	if n := s.GivenUp - len(shown); n > 0 {
		fmt.Fprintf(b, "  and %d more\n", n)
	}
}

// reasons lists reasons with their counts, most frequent first.
func reasons(m map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	var words []string
	for _, k := range keys {
		words = append(words, fmt.Sprintf("%s %d", cut(trace.Clean(k), 30), m[k]))
	}
	return strings.Join(words, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// cut shortens a text for a column.
func cut(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-3]) + "..."
}

// short is a time in three digits.
func short(d time.Duration) string {
	unit := time.Nanosecond
	for _, u := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= u {
			unit = u
			break
		}
	}
	if d >= 100*time.Second {
		return d.Round(time.Second).String()
	}
	v := float64(d) / float64(unit)
	name := map[time.Duration]string{time.Second: "s", time.Millisecond: "ms", time.Microsecond: "us", time.Nanosecond: "ns"}[unit]
	return fmt.Sprintf("%.3g %s", v, name)
}

// size is an amount of bytes in three digits.
func size(n uint64) string {
	v, unit := float64(n), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for v >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g %s", v, units[unit])
}
