package wasi_test

import (
	"errors"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

func TestCheckReturned(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	file := m.mustOpen("f", create, readWrite, 0)
	reader := m.mustOpen("f", 0, uint64(wasi.RightRead), 0)
	m.want("drop", m.call("fd_fdstat_set_rights", file, uint64(wasi.RightRead|wasi.RightSeek), uint64(0)), vfs.Success)
	before := m.p.State.Clone()
	before.Clocks = [wasi.NumClocks]uint64{10, 20}
	opened := m.mustOpen("f", 0, uint64(wasi.RightRead), 0) // during the offload
	for _, c := range []struct {
		what   string
		ok     bool
		change func(s *wasi.State)
	}{
		{"nothing", true, func(*wasi.State) {}},
		{"closing", true, func(s *wasi.State) { _ = s.Set(file, nil) }},
		{"moving", true, func(s *wasi.State) {
			f := s.FD(file)
			_ = s.Set(file, nil)
			_ = s.Set(100, f)
		}},
		{"reading on", true, func(s *wasi.State) { s.FD(file).Offset = 1 << 40 }},
		{"time passing", true, func(s *wasi.State) { s.Clocks = [wasi.NumClocks]uint64{10, 21} }},
		{"dropping rights", true, func(s *wasi.State) { s.FD(3).Base = 0 }},
		{"opening", true, func(s *wasi.State) { _ = s.Set(opened, m.p.State.FD(opened)) }},
		{"opening more than was granted", false, func(s *wasi.State) {
			f := *m.p.State.FD(opened)
			f.Base |= wasi.RightWrite
			_ = s.Set(opened, &f)
		}},
		{"an argument", false, func(s *wasi.State) { s.Args[0] = "other" }},
		{"a variable more", false, func(s *wasi.State) { s.Env = append(s.Env, "X=") }},
		{"a clock running backwards", false, func(s *wasi.State) { s.Clocks[1] = 19 }},
		{"a clock at its end", false, func(s *wasi.State) { s.Clocks[0] = 1 << 63 }},
		{"no generator", false, func(s *wasi.State) { s.Rand = nil }},
		{"a handle never issued", false, func(s *wasi.State) { s.FD(file).Handle = 1000 }},
		{"handle 0", false, func(s *wasi.State) { s.FD(file).Handle = 0 }},
		{"one handle twice", false, func(s *wasi.State) {
			f := *s.FD(file)
			_ = s.Set(50, &f)
		}},
		{"another kind", false, func(s *wasi.State) { s.FD(file).Kind = wasi.KindOutput }},
		{"another type", false, func(s *wasi.State) { s.FD(file).Type = vfs.TypeDirectory }},
		{"rights regained", false, func(s *wasi.State) { s.FD(file).Base |= wasi.RightWrite }},
		{"rights gained", false, func(s *wasi.State) { s.FD(reader).Base |= wasi.RightWrite }},
		{"inheriting rights gained", false, func(s *wasi.State) { s.FD(file).Inheriting = 1 }},
		{"a preopen renamed", false, func(s *wasi.State) { s.FD(3).Preopen = "/etc" }},
		{"a new preopen", false, func(s *wasi.State) { s.FD(file).Preopen = "/" }},
		{"an offset of a stream", false, func(s *wasi.State) { s.FD(0).Offset = 1 }},
		{"a negative offset", false, func(s *wasi.State) { s.FD(file).Offset = 1 << 63 }},
		{"unknown flags", false, func(s *wasi.State) { s.FD(file).Flags = 1 << 15 }},
	} {
		s := before.Clone()
		c.change(s)
		err := wasi.CheckReturned(before, s, m.sys.Issued)
		if c.ok && err != nil {
			t.Errorf("%s: got %v", c.what, err)
		}
		if !c.ok && !errors.Is(err, wasi.ErrRefused) {
			t.Errorf("%s: got %v, want a refusal", c.what, err)
		}
	}
}
