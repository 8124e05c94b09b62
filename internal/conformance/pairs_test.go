package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

var enginesFlag = flag.String("engines", "",
	"the pairings to run, as DEVICE>CLONE,... of compiler, interpreter, wasmtime, and for clones several, of which the node chooses; * for each that this binary has; default: some, with -full all but those with several")

// wazeroPairings are what each binary has, device first; the first are those that the short forms run.
var wazeroPairings = [][2]string{
	{Interpreter, Compiler}, {Compiler, Compiler}, {Compiler, Interpreter}, {Interpreter, Interpreter},
}

// wasmtimePairings are what a binary with wasmtime has besides; it runs these, since others run the rest.
var wasmtimePairings = [][2]string{
	{Interpreter, Wasmtime}, {Compiler, Wasmtime}, {Wasmtime, Compiler}, {Wasmtime, Interpreter}, {Wasmtime, Wasmtime},
}

// choicePairings have a node that chooses among its engines.
var choicePairings = [][2]string{{Compiler, Several}, {Interpreter, Several}}

// kinds are the engines of this binary.
var kinds = sync.OnceValue(engines.Kinds)

// pairings are all that this binary has.
func pairings() [][2]string {
	var all [][2]string
	for _, p := range slices.Concat(wasmtimePairings, choicePairings, wazeroPairings) {
		if slices.Contains(kinds(), p[0]) && (p[1] == Several || slices.Contains(kinds(), p[1])) {
			all = append(all, p)
		}
	}
	return all
}

// parsePairings reads a list as -engines has it, in the order of pairings.
func parsePairings(list string) ([][2]string, error) {
	all := pairings()
	wanted := map[[2]string]bool{}
	for text := range strings.SplitSeq(list, ",") {
		device, clone, ok := strings.Cut(text, ">")
		if !ok {
			return nil, fmt.Errorf("pairing %q: want DEVICE>CLONE", text)
		}
		some := false
		for _, p := range all {
			if (device == "*" || device == p[0]) && (clone == "*" || clone == p[1]) {
				some, wanted[p] = true, true
			}
		}
		if !some {
			return nil, fmt.Errorf("pairing %q: this binary has the engines %v", text, kinds())
		}
	}
	return slices.DeleteFunc(all, func(p [2]string) bool { return !wanted[p] }), nil
}

// chosen are the pairings that take the place of a suite's own: those of -engines, or those with wasmtime where the binary
// has it; nil: none do.
func chosen() [][2]string {
	switch {
	case *enginesFlag != "":
		list, err := parsePairings(*enginesFlag)
		if err != nil {
			panic("BUG: " + err.Error()) // TestMain has read it
		}
		return list
	case !slices.Contains(kinds(), Wasmtime):
		return nil
	case *full:
		return slices.DeleteFunc(pairings(), func(p [2]string) bool { return p[1] == Several })
	}
	return wasmtimePairings
}

// pairingsOf are the pairings of a suite that runs so many of wazero's by default.
func pairingsOf(n int) [][2]string {
	if list := chosen(); list != nil {
		return list
	}
	if *full {
		n = len(wazeroPairings)
	}
	return wazeroPairings[:n]
}

// drawEngines replaces the engines of a way that was drawn, if others were chosen. The rest of it stays, so that a seed means the
// same in each binary.
func drawEngines(w Way) Way {
	list := chosen()
	if list == nil {
		return w
	}
	return w.between(list[rand.New(rand.NewPCG(w.Seed, 0xe9)).IntN(len(list))])
}

// between is the way with other engines.
func (w Way) between(pair [2]string) Way {
	w.Device, w.Clone = pair[0], pair[1]
	return w
}

// siteEngine is the engine of a site that all runs of a suite share.
func siteEngine() string {
	list := chosen()
	switch {
	case list == nil:
		return Compiler
	case slices.ContainsFunc(list, func(p [2]string) bool { return p[1] == Wasmtime }):
		return Wasmtime
	}
	return list[0][1]
}

// onSite draws the device's engine of a way whose clones are on the site.
func onSite(w Way) Way {
	list := chosen()
	if list == nil {
		return w
	}
	clone := siteEngine()
	list = slices.DeleteFunc(slices.Clone(list), func(p [2]string) bool { return p[1] != clone })
	return w.between(list[rand.New(rand.NewPCG(w.Seed, 0xe9)).IntN(len(list))])
}

func TestPairings(t *testing.T) {
	has := pairings()
	for list, want := range map[string][][2]string{
		"*>*":                             has,
		"interpreter>interpreter":         {{Interpreter, Interpreter}},
		"*>interpreter,interpreter>*":     slices.DeleteFunc(slices.Clone(has), func(p [2]string) bool { return p[0] != Interpreter && p[1] != Interpreter }),
		"interpreter>interpreter,*>*,*>*": has,
	} {
		if got, err := parsePairings(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"interpreter", "interpreter>", "interpreter>*,fast>*", "*>*,"} {
		if got, err := parsePairings(list); err == nil {
			t.Errorf("%q: got %v, want an error", list, got)
		}
	}
	n := len(kinds())
	if len(has) != n*n+len(choicePairings) {
		t.Errorf("%d pairings of the %d engines %v", len(has), n, kinds())
	}
}
