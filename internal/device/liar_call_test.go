package device_test

import (
	"fmt"
	"math"
	"strings"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Handles that the device issues: stdin, stdout, stderr, the directory.
const (
	hIn = 1 + iota
	hOut
	_
	hDir
)

// readIn is the first thing that work does.
var readIn = wasi.Request{Op: wasi.OpRead, Handle: hIn, Size: 8}

// give makes a home call and waits for no answer.
func (s *stage) give(req wasi.Request) {
	s.call++
	s.send(s.homeCall(req))
}

// requests are home calls that the candidate cannot make, or that nobody can.
func requests() []lie {
	refused := func(name, function, line string, then func(s *stage)) lie {
		return lie{name: "call_" + name, function: function, line: broke + line, reason: "distrust", script: once(then)}
	}
	call := func(name, function, line string, req wasi.Request) lie {
		return refused(name, function, line, func(s *stage) { s.give(req) })
	}
	host := func(name, line string, args int, results uint64, module, function string) lie {
		return call("host_"+name, "mixed", line, wasi.Request{Op: migrate.OpHost, Path: module, Path2: function, Data: make([]byte, args), Size: results})
	}
	var all []lie
	for op := wasi.OpNone; op < wasi.NumOps; op++ {
		line := fmt.Sprintf("%v is out of the candidate's reach", op)
		if op.Where() == wasi.AtClone || op == wasi.OpClose {
			line = fmt.Sprintf("%v as a home call", op)
		}
		all = append(all, call("pure_"+op.String(), "pure", line, wasi.Request{Op: op, Handle: hDir, Handle2: hDir, Path: "in", Path2: "x"}))
		switch op {
		case wasi.OpRead, wasi.OpReadAt, wasi.OpWrite, wasi.OpWriteAt, wasi.OpAppend, wasi.OpOutput, wasi.OpOpen:
		default:
			all = append(all, call("work_"+op.String(), "work", line, wasi.Request{Op: op, Handle: hDir, Handle2: hDir, Path: "in", Path2: "x"}))
		}
	}
	raw := func(name, line string, request []byte) lie {
		return refused(name, "work", line, func(s *stage) {
			s.call++
			c := s.homeCall(readIn)
			c.Request = request
			s.send(c)
		})
	}
	numbered := func(name, line string, number uint64) lie {
		return refused(name, "work", line, func(s *stage) { s.call = number - 1; s.give(readIn) })
	}
	endless := refused("endless", "work", "more than 500 calls", func(s *stage) {
		for {
			s.request(wasi.Request{Op: wasi.OpReadAt, Handle: hDir, Size: 10})
		}
	})
	endless.limits.Calls = 500
	diverged := func(name, line string, then func(s *stage)) lie {
		c := refused(name, "work", line, then)
		c.end = "replay diverged"
		return c
	}
	return append(all,
		call("handle_invented", "work", "read of handle 99, which was not issued", wasi.Request{Op: wasi.OpRead, Handle: 99, Size: 1}),
		call("handle_zero", "work", "read of handle 0", wasi.Request{Op: wasi.OpRead, Size: 1}),
		call("handle_max", "work", "read-at of handle 18446744073709551615", wasi.Request{Op: wasi.OpReadAt, Handle: math.MaxUint64, Size: 1}),
		call("host_from_work", "work", `host function "host" "mul" is out of`, wasi.Request{Op: migrate.OpHost, Path: "host", Path2: "mul", Data: make([]byte, 16), Size: 1}),
		host("unknown", `host function "host" "system\x1b" is out of the candidate's reach`, 16, 1, "host", "system\x1b"),
		host("wasi", `no host function "wasi_snapshot_preview1" "random_get"`, 16, 1, "wasi_snapshot_preview1", "random_get"),
		host("few", `host function "host" "mul" with 8 bytes`, 8, 1, "host", "mul"),
		host("none", `host function "host" "mul" with 0 bytes`, 0, 1, "host", "mul"),
		host("many", `host function "host" "mul" with 24 bytes`, 24, 1, "host", "mul"),
		host("results", `host function "host" "mul" with 16 bytes of arguments and 4096 results`, 16, 4096, "host", "mul"),
		call("host_wide", "mixed", "argument 0 of host function", wasi.Request{Op: migrate.OpHost, Path: "host", Path2: "mul", Data: []byte("aaaaaaaabbbbbbbb"), Size: 1}),
		call("op_200", "mixed", "op 200 is out of the candidate's reach", wasi.Request{Op: 200, Path: "host", Path2: "mul"}),
		raw("garbage", "call 1: decode request", []byte("garbage")),
		raw("empty", "call 1: decode request", nil),
		raw("longer", "call 1: decode request", readIn.AppendTo(nil)[:5]),
		raw("size", "call 1: decode request", (&wasi.Request{Op: wasi.OpRead, Handle: hIn, Size: 1 << 40}).AppendTo(nil)),
		numbered("skipped", "call 2 after 0", 2),
		numbered("far", "call 18446744073709551615 after 0", math.MaxUint64),
		refused("back", "work", "call 1 after 1", func(s *stage) {
			s.request(readIn)
			s.call = 0
			s.give(wasi.Request{Op: wasi.OpReadAt, Handle: hDir, Size: 8})
		}),
		refused("repeated", "work", "call 1 again and again", func(s *stage) {
			for {
				s.request(readIn) // all but the first are answered from the journal
				s.call = 0
			}
		}),
		endless,
		refused("path_outside", "work", "call 7 after 2", func(s *stage) {
			for _, p := range []string{"../../../etc/passwd", "/etc/passwd"} {
				if r := s.request(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: p, Flags: wasi.FlagFollow, Rights: wasi.RightRead}); r.Errno == vfs.Success {
					panic("BUG: opened " + p)
				}
			}
			s.call = 6
			s.give(readIn)
		}),
		refused("many_opened", "work", "call 7 after 100", func(s *stage) {
			for range 100 {
				s.request(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: "in", Rights: wasi.RightRead})
			}
			s.call = 6
			s.give(readIn)
		}),
		diverged("read_stdin", "call 7 after 1", func(s *stage) {
			s.request(wasi.Request{Op: wasi.OpRead, Handle: hIn, Size: 20})
			s.call = 6
			s.give(readIn)
		}),
		diverged("create", "call 7 after 1", func(s *stage) {
			s.request(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: "evil", Flags: wasi.FlagCreate, Rights: wasi.RightWrite})
			s.call = 6
			s.give(readIn)
		}),
	)
}

// outputs are outputs that the candidate cannot make, or does not.
func outputs() []lie {
	output := func(name, function, line string, then func(s *stage)) lie {
		return lie{name: "output_" + name, function: function, line: broke + line, reason: "distrust", script: once(then)}
	}
	to := func(name, line string, handle uint64) lie {
		return output(name, "say", line, func(s *stage) { s.output(handle, "say ") })
	}
	forged := output("forged", "say", "call 9 after 1", func(s *stage) { s.output(hOut, "evil\n"); s.call = 8; s.output(hOut, "") })
	forged.end = "replay diverged"
	endless := output("endless", "say", "more than 200000 bytes of output", func(s *stage) {
		for {
			s.output(hOut, strings.Repeat("spam ", 10_000))
		}
	})
	endless.end, endless.limits = "replay diverged", device.Limits{Output: 200_000}
	empty := output("endless_empty", "say", "more than 500 calls", func(s *stage) {
		for {
			s.output(hOut, "")
		}
	})
	empty.limits = device.Limits{Calls: 500}
	lost := func(name string, parts ...string) lie {
		return lie{name: "output_lost_" + name, function: "say", line: "clone lost, going on without until there is another", reason: "link lost",
			script: once(func(s *stage) {
				for _, p := range parts {
					s.output(hOut, p)
				}
				s.bye()
			})}
	}
	return []lie{
		output("unreachable", "pure", "output is out of the candidate's reach", func(s *stage) { s.output(hOut, "evil") }),
		to("stdin", "output to handle 1, which is none", hIn),
		to("directory", "output to handle 4, which is none", hDir),
		to("invented", "output of handle 77, which was not issued", 77),
		output("as_call", "say", "output to handle 4, which is none", func(s *stage) {
			s.give(wasi.Request{Op: wasi.OpOutput, Handle: hDir, Data: []byte("x")})
		}),
		output("skipped", "say", "call 3 after 0", func(s *stage) { s.call = 2; s.output(hOut, "say ") }),
		output("repeated", "say", "call 1 after 1", func(s *stage) { s.output(hOut, "say "); s.call = 0; s.output(hOut, "say ") }),
		output("true_then_lie", "say", "call 5 after 2", func(s *stage) {
			s.output(hOut, "say ")
			s.output(hOut, "7\n")
			s.call = 4
			s.output(hOut, "more")
		}),
		forged, endless, empty,
		lost("none"), lost("half", "say "), lost("all", "say ", "7\n"),
	}
}

// notes are answers that no clock gives.
func notes() []lie {
	now := wasi.Request{Op: wasi.OpClockTime, Flags: wasi.Monotonic, Monotonic: 1000}
	note := func(name, function, line string, req wasi.Request, resp wasi.Response) lie {
		return lie{name: "note_" + name, function: function, line: broke + line, reason: "distrust", script: once(func(s *stage) { s.note(req, resp) })}
	}
	raw := func(name, line string, req, resp []byte) lie {
		return lie{name: "note_" + name, function: "work", line: broke + line, reason: "distrust", script: once(func(s *stage) {
			s.send(&wire.Note{Offload: s.m.Offload, Attempt: s.m.Attempt, Call: 1, Request: req, Response: resp})
		})}
	}
	third := now
	third.Flags = 7
	good := (&wasi.Response{Value: 2000}).AppendTo(nil)
	return []lie{
		note("no_clock", "work", "read as a note", readIn, wasi.Response{}),
		note("close", "work", "close as a note", wasi.Request{Op: wasi.OpClose, Handle: hDir}, wasi.Response{}),
		note("output", "work", "output as a note", wasi.Request{Op: wasi.OpOutput, Handle: hOut}, wasi.Response{}),
		note("host", "mixed", "host-call as a note", wasi.Request{Op: migrate.OpHost}, wasi.Response{}),
		note("unreachable", "pure", "clock-time is out of the candidate's reach", now, wasi.Response{Value: 2000}),
		note("sleep", "work", "sleep is out of the candidate's reach", wasi.Request{Op: wasi.OpSleep}, wasi.Response{}),
		note("backwards", "work", "clock 1 goes from 1000 back to 999", now, wasi.Response{Value: 999}),
		note("third_clock", "work", "clock 7", third, wasi.Response{Value: 2000}),
		note("huge", "work", "clock-time gives", now, wasi.Response{Value: 1 << 63}),
		note("errno", "work", "clock-time gives", now, wasi.Response{Value: 2000, Errno: vfs.EIO}),
		note("data", "work", "clock 1", now, wasi.Response{Value: 2000, Data: make([]byte, 1000)}),
		raw("request", "note 1: decode request", []byte("x"), good),
		raw("response", "note 1: decode response", now.AppendTo(nil), []byte("x")),
		raw("response_longer", "note 1: decode response", now.AppendTo(nil), append(good, 1)),
		{name: "note_endless", function: "work", line: "work goes on here: journal is full", reason: "journal full, refused",
			limits: device.Limits{Journal: migrate.JournalConfig{Limit: 1200 << 10}},
			script: once(func(s *stage) {
				for range 10_000 {
					s.note(now, wasi.Response{Value: 2000})
				}
				s.tired()
			})},
		{name: "note_then_lost", function: "work", line: "clone lost", reason: "link lost", script: once(func(s *stage) {
			s.note(now, wasi.Response{Value: 2000})
			s.bye()
		})},
		{name: "note_between", function: "work", line: "clone lost", reason: "link lost", script: once(func(s *stage) {
			s.note(now, wasi.Response{Value: 2000})
			s.request(readIn)
			s.note(now, wasi.Response{Value: 2000})
			s.bye()
		})},
	}
}
