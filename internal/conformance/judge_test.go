package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/clonecloud/clonecloud/internal/engine"
)

// specTally is what a play of scripts did.
type specTally struct {
	mu                                sync.Mutex
	modules, moved                    int
	excluded                          map[string]int // modules that did not move, by reason
	calls, offloaded, skipped         int            // of the commands
	unjudged                          int            // of the calls: compared only
	offloads, homeCalls, linked       int
	fallbacks, keptCalls, skipReasons map[string]int
	refused                           int
}

func newSpecTally() *specTally {
	return &specTally{excluded: map[string]int{}, fallbacks: map[string]int{}, keptCalls: map[string]int{}, skipReasons: map[string]int{}}
}

func (s *specTally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d valid modules, %d moved; %d invalid ones refused; %d calls compared (%d not judged by the script), %d of them moved, %d skipped; "+
		"%d offloads, %d home calls, %d between modules, fallbacks %v, kept %v", s.modules, s.moved, s.refused, s.calls, s.unjudged, s.offloaded,
		s.skipped, s.offloads, s.homeCalls, s.linked, s.fallbacks, s.keptCalls)
	list := func(what string, m map[string]int) {
		for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return m[b] - m[a] }) {
			fmt.Fprintf(&b, "\n    %s %4d: %s", what, m[k], k)
		}
	}
	list("modules that do not move", s.excluded)
	list("calls not made", s.skipReasons)
	return b.String()
}

var numbers = regexp.MustCompile(`\d+`)
var place = regexp.MustCompile(` in function .*`)

// general takes the names and numbers out of a reason, so that modules can be counted by it.
func general(reason string) string {
	return place.ReplaceAllString(numbers.ReplaceAllString(reason, "N"), "")
}

// exempt tells what the engine decides otherwise than the script.
func exempt(s *script, c *command) bool {
	switch {
	case c.Type == "assert_uninstantiable" && c.Text == "out of bounds table access":
		return true // the engine keeps the instance
	case c.Type == "assert_invalid" && c.Text == "unknown global" && s.String() == "v2/elem":
		return true // made valid since: offsets may be globals of the module itself
	case c.Type == "assert_invalid" || c.Type == "assert_malformed":
		return strings.HasPrefix(s.String(), "v1/") // made valid since
	}
	return false
}

// judge says what is wrong with an outcome by the script.
func judge(c *command, o string) string {
	want := ""
	switch c.Type {
	case "module", "register":
		if o != "" && !strings.HasPrefix(o, " printed") {
			want = "no error"
		}
	case "assert_return", "action":
		var got []uint64
		text, _, _ := strings.Cut(strings.TrimPrefix(o, "["), "]")
		for _, f := range strings.Fields(text) {
			var u uint64
			if _, err := fmt.Sscanf(f, "%x", &u); err != nil {
				return fmt.Sprintf("got %q, want results", o)
			}
			got = append(got, u)
		}
		if c.Type == "assert_return" && !match(c.Expected, got) {
			want = fmt.Sprint(c.Expected)
		}
	case "assert_trap", "assert_exhaustion", "assert_uninstantiable":
		kind, err := trapOf(c.Text)
		if err != nil {
			return err.Error()
		}
		if text := (&engine.Trap{Kind: kind}).Error(); o != text && !strings.HasPrefix(o, text+" printed") {
			want = text
		}
	case "assert_exception":
		if !strings.HasPrefix(o, (&engine.Exception{}).Error()) {
			want = "an exception"
		}
	case "assert_invalid", "assert_malformed":
		if o != "refused" {
			want = "a refusal"
		}
	}
	if want == "" {
		return ""
	}
	return fmt.Sprintf("got %q, want %s", o, want)
}
