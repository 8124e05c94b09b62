package analysis

import (
	"math"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/wasm"
)

// The compiler of Go gives every Go function the type (i32) -> i32: it takes a resume point and returns 1
// when the goroutine is to be switched. A body that can be resumed is
//
//	block                         ; left to return 1, if it calls anything
//	  loop                        ; if it jumps
//	    block … block             ; one for each piece of code
//	      local.get 0; br_table   ; resume point -> the end of one of these blocks
//	    end  piece 0  end  piece 1 …
//
// and a jump sets local 0 and branches to the loop, so its loops show in the constants only.

// isGo reports whether the Go compiler made the module.
func isGo(m *wasm.Module) bool {
	return slices.ContainsFunc(m.Customs, func(c wasm.Custom) bool { return c.Name == "go:buildid" })
}

// isGoFunc reports whether a type is that of Go functions.
func isGoFunc(t wasm.FuncType) bool {
	i32 := wasm.ValType{Kind: wasm.I32}
	return len(t.Params) == 1 && len(t.Results) == 1 && t.Params[0] == i32 && t.Results[0] == i32
}

// goRuntime reports whether a name of the name section belongs to the Go runtime and what serves it: code
// that runs on the scheduler's stack, or too briefly to be moved. The linker writes _ for what is no letter.
func goRuntime(name string) bool {
	pkg, _, ok := strings.Cut(name, ".")
	if !ok {
		return true // assembly: wasm_pc_f_loop, cmpbody, gcWriteBarrier, …
	}
	switch pkg {
	case "runtime", "sync", "sync_atomic", "syscall", "reflect", "type_", "type", "go", "go_", "unicode_utf8", "errors", "iter":
		return true
	}
	return strings.HasPrefix(pkg, "runtime_") || strings.HasPrefix(pkg, "internal_")
}

// goMangle writes a Go name as the linker does in the name section.
func goMangle(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r < 128 && (r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z') {
			return r
		}
		return '_'
	}, name)
}

// goJumps finds the table of resume points and replaces jumps through it by branches forward and back.
func (s *scanner) goJumps(b *body) {
	s.resume = s.resume[:0]
	loop := uint32(0)
	for i := 1; i < len(s.events); i++ {
		e := &s.events[i]
		if e.kind == evLoop && loop == 0 {
			loop = uint32(i)
		}
		if e.kind == evBrTable {
			s.resume = append(s.resume, s.labels[e.lo:e.hi]...)
			break
		}
		if e.kind != evBlock && e.kind != evLoop {
			break
		}
	}
	if len(s.resume) == 0 {
		s.goStyle = false // assembly
		return
	}
	if loop == 0 {
		return
	}
	b.loops = Loops{}
	for i := range s.events {
		e := &s.events[i]
		if e.kind != evBr || e.arg != loop || e.num < 0 || int(e.num) >= len(s.resume) {
			continue
		}
		e.arg = s.resume[e.num]
		if end := s.events[e.arg].hi; int(end) < i {
			e.kind = evBack
			if s.events[end].lo == 0 {
				b.loops.Count++
			}
			s.events[end].lo = uint32(i) // of an end: the last jump back to what follows
		}
	}
	s.nests, s.heads = s.nests[:0], s.heads[:0]
	for i := range s.events {
		switch e := &s.events[i]; {
		case e.kind == evBack:
			s.nests = slices.DeleteFunc(s.nests, func(n nest) bool { return n.tail <= i })
		case e.kind == evEnd && e.lo != 0:
			if k := len(s.nests); k > 0 && !s.nests[k-1].inner {
				s.nests[k-1].inner = true
				b.loops.Outer++
			}
			s.nest(e)
			s.heads = append(s.heads, uint32(i))
			b.loops.Depth = max(b.loops.Depth, len(s.nests))
		}
	}
}

// nest enters the loop that begins behind the end e of a block.
func (s *scanner) nest(e *event) {
	const most = 64 // so that time stays linear
	if len(s.nests) < most {
		s.nests = append(s.nests, nest{tail: int(e.lo)})
	}
}

// goExit reports whether a block is the one that Go code leaves to return to the scheduler.
func (s *scanner) goExit(block uint32) bool {
	return s.goStyle && block == 1 && s.events[1].kind == evBlock
}

// goHead is the flow behind the end e of a block in Go code: a loop may begin there.
func (s *scanner) goHead(i int, e *event, p float64) float64 {
	scale := math.Pow(loopFactor, float64(min(len(s.nests), maxLoopLevels)))
	p = min(p, scale)
	if e.lo != 0 {
		if len(s.nests) < maxLoopLevels {
			p *= loopFactor
		}
		s.nest(e)
	}
	return p
}

// goEnters is how much more often code runs behind the end of a block than at event i, from where a jump
// leads into loops: the compiler often enters them in the middle, at the condition.
func (s *scanner) goEnters(i int, block uint32) float64 {
	const most = 64 // loops looked at, so that time stays linear
	end := s.events[block].hi
	k, _ := slices.BinarySearch(s.heads, uint32(i))
	factor, levels := 1.0, len(s.nests)
	for _, head := range s.heads[k:min(len(s.heads), k+most)] {
		if head >= end {
			break
		}
		if s.events[head].lo >= end && levels < maxLoopLevels {
			factor *= loopFactor
			levels++
		}
	}
	return factor
}

// leavesNest reports whether the end of a block lies behind the innermost loop.
func (s *scanner) leavesNest(block uint32) bool {
	n := len(s.nests)
	return n > 0 && int(s.events[block].hi) > s.nests[n-1].tail
}

// goLibrary reports whether a function is of the standard library.
func goLibrary(name string) bool {
	pkg, _, _ := strings.Cut(name, ".")
	pkg, _, _ = strings.Cut(pkg, "_")
	switch pkg {
	case "archive", "bufio", "bytes", "cmp", "compress", "container", "context", "crypto", "database", "debug", "embed",
		"encoding", "expvar", "flag", "fmt", "hash", "html", "image", "index", "io", "log", "maps", "math", "mime",
		"net", "os", "path", "regexp", "slices", "sort", "strconv", "strings", "testing", "text", "time", "unicode",
		"unique", "vendor", "weak":
		return true
	}
	return goRuntime(name)
}
