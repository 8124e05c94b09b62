package rewrite_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/clonecloud/clonecloud/internal/rewrite"
)

// The specification's scripts give the same results for the original and for every kind of rewritten module.
func TestScripts(t *testing.T) {
	modes := []mode{
		{name: "clone", opt: rewrite.Options{CanonicalNaN: true, StripDebug: true, Detach: true}},
		{name: "unarmed", opt: rewrite.Options{Wrap: true, Poll: rewrite.PollOuterLoops}},
		{name: "local", opt: rewrite.Options{Wrap: true}, arm: true, enter: rewrite.EnterLocal},
		{name: "fallback", opt: rewrite.Options{Wrap: true}, arm: true, enter: rewrite.EnterClone, fallBack: true},
		{
			name: "moved", arm: true, enter: rewrite.EnterClone, stop: true,
			opt: rewrite.Options{Wrap: true, Poll: rewrite.PollAllLoops, CanonicalNaN: true, Detach: true},
		},
	}
	if testing.Short() {
		modes = modes[4:]
	}
	all := scripts(t)
	config := wazero.NewRuntimeConfigInterpreter()
	want := make([][]outcome, len(all))
	for i, s := range all {
		k := machine{mode: mode{original: true}}
		want[i] = k.run(t, s, config)
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			sum := &tally{excluded: map[string]int{}}
			for i, s := range all {
				k := machine{mode: mode, tally: sum}
				compare(t, s, &mode, k.run(t, s, config), want[i])
			}
			t.Log(sum)
			if sum.moved < 2300 || sum.candidates < 8800 {
				t.Error("too little was rewritten")
			}
			if mode.opt.Detach != (sum.detached > 60) {
				t.Errorf("%d pieces of memory detached", sum.detached)
			}
			if mode.enter == rewrite.EnterClone && sum.calls < 60000 {
				t.Error("too little moved")
			}
		})
	}
}

// engineFaults are invalid modules that the engine accepts as soon as they have a function of any kind: it takes
// ref.null in the initial value of a table for ref.func 0.
var engineFaults = map[string]bool{
	"typed-function-references/table.wast:57": true,
	"typed-function-references/table.wast:61": true,
}

func compare(t *testing.T, s *script, mode *mode, got, want []outcome) {
	bad := 0
	for i := range want {
		c := &s.Commands[i]
		if engineFaults[fmt.Sprintf("%v:%d", s, c.Line)] {
			continue
		}
		if diff := differ(c, mode, got[i], want[i]); diff != "" {
			if bad++; bad < 4 {
				t.Errorf("%v:%d: %s %s: %s\n got %x\nwant %x", s, c.Line, c.Type, c.Action.Field, diff, got[i], want[i])
			}
		}
	}
	if bad > 0 {
		t.Errorf("%v: %d of %d commands differ", s, bad, len(want))
	}
}

// differ says in which way an outcome is not what it was before rewriting, or "".
func differ(c *command, mode *mode, got, want outcome) string {
	if got.err != want.err {
		return "error differs"
	}
	if len(got.slots) != len(want.slots) {
		return "number of results differs"
	}
	at := 0
	for i := range got.types {
		n := 1
		if got.types[i] == 0x7b {
			n = 2
		}
		if at+n > len(got.slots) {
			break
		}
		g, w := got.slots[at:at+n], want.slots[at:at+n]
		at += n
		if i < len(c.Expected) && mode.opt.CanonicalNaN {
			// Where arithmetic makes a NaN it must be the canonical one, whatever the engine made of it.
			if lanes := c.Expected[i].nanLanes(); slices.Max(lanes) > 0 {
				if !canonical(lanes, g) && !strings.Contains(c.Action.Field, "neg") {
					return "a NaN is not canonical"
				}
				continue
			}
		}
		for k := range g {
			if g[k] != w[k] {
				return "result differs"
			}
		}
	}
	return ""
}

// canonical reports whether the lanes of a result of which a NaN is expected, by their widths, are the canonical NaN.
func canonical(lanes []int, slots []uint64) bool {
	for i, width := range lanes {
		at := i * 128 / len(lanes)
		if len(lanes) == 1 {
			at = 0
		}
		switch {
		case width == 32 && uint32(slots[at/64]>>(at%64)) != 0x7fc00000, width == 64 && slots[at/64] != 0x7ff8<<48:
			return false
		}
	}
	return true
}
