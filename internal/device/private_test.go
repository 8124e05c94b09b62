package device_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// refuses makes a home call that the device does not answer: it gives the attempt up, and runs the function itself.
func (s *stage) refuses(req wasi.Request) {
	s.call++
	s.send(s.homeCall(req))
	if m := s.recv(); m.Type() != wire.TypeCancel {
		panic(fmt.Sprintf("the device answers %+v to %v", m, req.Op))
	}
}

// dirHandle is the handle of the directory, which the guest has as descriptor 3.
func (s *stage) dirHandle() uint64 {
	w := &wasi.State{}
	if err := w.UnmarshalBinary(s.m.Image.WASI); err != nil {
		panic(err)
	}
	return w.FD(3).Handle
}

func (s *stage) env() []string {
	w := &wasi.State{}
	if err := w.UnmarshalBinary(s.m.Image.WASI); err != nil {
		panic(err)
	}
	return w.Env
}

// keep gives a case that keeps something on the device. What happened is in the trace.
func keep(p device.Private, c lie) *lie {
	c.setup = func(cfg *runner.Config) { cfg.Private = p }
	return &c
}

var read8 = wasi.Request{Op: wasi.OpRead, Handle: 1, Size: 8}

func (s *stage) open(name string) wasi.Request {
	return wasi.Request{Op: wasi.OpOpen, Handle: s.dirHandle(), Path: name, Rights: wasi.RightRead}
}

// TestPrivate: what is to stay is not given to a clone, and once it has been read here nothing leaves any more.
func TestPrivate(t *testing.T) {
	want := play(t, nil)
	for _, c := range []struct {
		*lie
		stays string // from when nothing leaves
	}{
		{keep(device.Private{Stdin: true}, lie{name: "stdin", function: "work", reason: "kept local", script: once(func(s *stage) {
			s.refuses(read8)
		})}), "read what stays on the device: standard input"},
		{keep(device.Private{Dirs: []string{"/dir"}}, lie{name: "directory", function: "work", reason: "kept local", script: once(func(s *stage) {
			s.request(read8) // is free
			s.refuses(s.open("in"))
		})}), "read what stays on the device: /dir/in"},
		{keep(device.Private{Dirs: []string{"/dir"}}, lie{name: "directory_stat", function: "work", line: broke + "stat-path is out of",
			reason: "distrust", script: once(func(s *stage) {
				s.call++
				s.send(s.homeCall(wasi.Request{Op: wasi.OpStatPath, Handle: s.dirHandle(), Path: "in"}))
			})}), "read what stays on the device: /dir/in"}, // here, afterwards
		{keep(device.Private{Stdin: true}, lie{name: "read_here", script: once(func(s *stage) {
			s.back(s.answer(5050)) // before anything was read
			expect[*wire.Commit](s)
			panic(fmt.Sprintf("sent %+v after all", expect[*wire.Migrate](s)))
		})}), "read what stays on the device: standard input"},
		{keep(device.Private{Dirs: []string{"/dir"}}, lie{name: "read_here_directory", script: once(func(s *stage) {
			s.back(s.answer(5050))
			expect[*wire.Commit](s)
			panic(fmt.Sprintf("sent %+v after all", expect[*wire.Migrate](s)))
		})}), "read what stays on the device: /dir/in"},
		{keep(device.Private{Env: []string{"HOME"}}, lie{name: "variable", script: once(func(s *stage) {
			for _, result := range []uint64{5050, 55} {
				if len(s.env()) > 0 {
					panic(fmt.Sprintf("sent variables %q", s.env()))
				}
				s.back(s.answer(result))
				expect[*wire.Commit](s)
				if result == 5050 {
					s.migrate()
				}
			}
		})}), ""},
		{keep(device.Private{Env: []string{"HOME"}}, lie{name: "variable_returned", line: broke + "wasi state: state refused: variables", reason: "distrust",
			script: spoiled(func(s *stage, r *wire.Reintegrate) {
				s.wasiState(r, func(w *wasi.State) { w.Env = []string{"HOME=/"} })
			})}), ""},
		{keep(device.Private{Env: []string{"OTHER", "HOM", "HOME="}}, lie{name: "other_variable", script: once(func(s *stage) {
			if !slices.Equal(s.env(), []string{"HOME=/"}) {
				panic(fmt.Sprintf("sent variables %q", s.env()))
			}
			s.back(s.answer(5050))
			s.migrate()
			s.back(s.answer(55))
		})}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := play(t, c.lie)
			c.judge(t, want, got)
			stays := ""
			for _, l := range got.trace() {
				if _, why, ok := strings.Cut(l, "nothing leaves the device from here on: "); ok {
					stays += why
				}
			}
			if stays != c.stays {
				t.Errorf("nothing leaves from %q on, want %q", stays, c.stays)
			}
		})
	}
}

// load loads the guest with a scripted clone, so that its functions can be called one by one.
func load(t *testing.T, c *lie, env ...string) (*runner.Instance, *outcome) {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	o := &outcome{}
	cfg := runner.Config{
		Module: guestWasm, Engine: eng, Args: []string{"guest"}, Env: env, Local: local.Config{VirtualClock: true},
		Hosts:  migrate.Hosts{"host": {"mul": {Call: func(context.Context, *migrate.HostCall) error { return nil }}}},
		Log:    func(f string, a ...any) { o.log = append(o.log, fmt.Sprintf(f, a...)) },
		Events: o.told,
	}
	stop := c.connect(t.Context(), &cfg)
	t.Cleanup(stop)
	i, err := runner.Load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close(context.Background()) })
	return i, o
}

func pure(t *testing.T, i *runner.Instance) {
	t.Helper()
	if r, err := i.Call(t.Context(), "pure", []uint64{100}); err != nil || r[0] != 5050 {
		t.Fatalf("pure gives %v, %v", r, err)
	}
}

// honestly answers one offload of pure after another.
func honestly(s *stage) {
	s.ready()
	for {
		s.migrate()
		s.back(s.answer(5050))
	}
}

// TestVariablesComeBack: those that were not sent are there again after the merge, and once the guest has been given
// them nothing leaves.
func TestVariablesComeBack(t *testing.T) {
	sent := make(chan []string, 8)
	c := keep(device.Private{Env: []string{"SECRET"}}, lie{script: func(s *stage) {
		s.ready()
		for {
			s.migrate()
			sent <- s.env()
			s.back(s.answer(5050))
		}
	}})
	env := []string{"A=1", "SECRET=x=y", "B=2"}
	i, o := load(t, c, env...)
	if !i.AwaitClone(t.Context(), wait) {
		t.Fatal("no clone")
	}
	for range 2 {
		pure(t, i)
		if got := <-sent; !slices.Equal(got, []string{"A=1", "B=2"}) {
			t.Errorf("sent %q", got)
		}
		if got := i.Process().WASI.State.Env; !slices.Equal(got, env) {
			t.Errorf("variables are %q after the merge", got)
		}
	}
	i.Process().WASI.EnvRead = true
	pure(t, i)
	pure(t, i)
	r, err := i.Finish(nil)
	if done, _ := r.Offloads(); err != nil || done != 2 || len(sent) > 0 {
		t.Errorf("%d offloads, %v", done, err)
	}
	if lines := o.trace(); !slices.Contains(lines, "nothing leaves the device from here on: read its variables") {
		t.Errorf("told %q", lines)
	}
}

// TestPrivateUnknown: a directory that is to be kept and is not there is a mistake that must not pass.
func TestPrivateUnknown(t *testing.T) {
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	cfg := runner.Config{Module: guestWasm, Engine: eng, Private: device.Private{Dirs: []string{"/dri"}},
		Hosts: migrate.Hosts{"host": {"mul": {Call: func(context.Context, *migrate.HostCall) error { return nil }}}}}
	if _, err := runner.Run(t.Context(), cfg); !errors.Is(err, device.ErrPrivate) || !strings.Contains(err.Error(), `"/dri"`) {
		t.Errorf("error %v", err)
	}
}

// TestAudit tells of what a clone is given of files and streams, and of nothing else.
func TestAudit(t *testing.T) {
	var lines []string
	c := lie{name: "audit", function: "work", reason: "refused", setup: func(cfg *runner.Config) {
		cfg.Audit = func(f string, a ...any) { lines = append(lines, fmt.Sprintf(f, a...)) }
	}, script: once(func(s *stage) {
		s.request(read8)
		fd := s.request(s.open("in"))
		s.request(wasi.Request{Op: wasi.OpReadAt, Handle: fd.Handle, Size: 100})
		s.request(s.open("absent"))
		s.output(2, "x")
		s.send(s.refuse())
		s.tired()
	})}
	got := play(t, &c)
	want := []string{`work: read of "standard input" for the clone, `, `work: open of "/dir/in" for the clone, `,
		`work: read-at of "/dir/in" for the clone, `, `work: open of "/dir/absent" for the clone, `}
	if len(lines) != len(want) {
		t.Fatalf("lines %q, fallbacks %v", lines, maps.Collect(maps.All(fallbacks(got))))
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) || !strings.HasSuffix(lines[i], " bytes") {
			t.Errorf("line %q, want %q...", lines[i], want[i])
		}
	}
}
