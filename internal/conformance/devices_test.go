//go:build linux

package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	devicesFlag = flag.Int("devices", 0, "how many devices TestDevices has; default 12, 200 with -full, 4 with -short")
	lastFlag    = flag.Duration("last", 0, "how long TestDevices lasts; default 4s, 5m with -full, 1s with -short")
)

// usage is what a process holds.
type usage struct{ files, resident int }

func usageOf(pid int) (u usage, err error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return u, fmt.Errorf("statm of %d: %q", pid, b)
	}
	pages, err := strconv.Atoi(f[1])
	return usage{len(fds), pages * os.Getpagesize()}, err
}

// TestDevices has many devices use one node at once, each over TLS and with a worker process of its own, and looks whether
// all outputs are right, and whether the node holds afterwards what it held before.
func TestDevices(t *testing.T) {
	devices, last := 12, 4*time.Second
	switch {
	case *full:
		devices, last = 200, 5*time.Minute
	case testing.Short():
		devices, last = 4, time.Second
	}
	if *devicesFlag > 0 {
		devices = *devicesFlag
	}
	if *lastFlag > 0 {
		last = *lastFlag
	}
	mix, err := os.ReadFile("testdata/mix.wasm")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	type program struct {
		name string
		make func(dir string) (Case, error)
		want *Outcome
	}
	programs := []*program{
		{name: "mix", make: func(dir string) (Case, error) { return mixCase(dir, mix, "") }},
		{name: "mix-trap", make: func(dir string) (Case, error) { return mixCase(dir, mix, "trap") }},
	}
	for _, g := range wazeroGuests(t) {
		if g.files != nil || len(programs) >= 12 {
			continue
		}
		bin, err := os.ReadFile(g.prog)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, &program{name: g.name, make: func(string) (Case, error) {
			return Case{Name: g.name, Module: bin, Args: g.args, Env: g.env, Stdin: []byte(g.stdin)}, nil
		}})
	}
	for _, p := range programs {
		c, err := p.make(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		if p.want, err = l.Run(context.Background(), c, Way{Canonical: true}); err != nil {
			t.Fatal(err)
		}
	}
	site := &Site{State: t.TempDir(), Engine: siteEngine(), Idle: 2 * time.Second}
	if err := site.Start(); err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	one := func(dial func() *Lab, p *program, seed uint64) (*Outcome, error) {
		dir, err := os.MkdirTemp("", "device")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		c, err := p.make(filepath.Join(dir, "out"))
		if err != nil {
			return nil, err
		}
		w := Way{Device: Compiler, Clone: Compiler, Canonical: true, All: true, Deep: seed%3 == 0, Seed: seed, First: 4, Sample: 0.01}
		return dial().Run(context.Background(), c, onSite(w))
	}
	quiet := func() usage {
		for { // until only the warm worker is left
			if len(site.Workers()) <= 1 {
				u, err := usageOf(site.Pid())
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	lab := func() func() *Lab {
		d := site.Device(nil)
		return func() *Lab { return l.With(d.Connect) }
	}
	if _, err := one(lab(), programs[0], 1); err != nil { // what is needed once
		t.Fatal(err)
	}
	before := quiet()

	var s tally
	var mu sync.Mutex
	var runs, most atomic.Int64
	end := time.Now().Add(last)
	var wg sync.WaitGroup
	for d := range devices {
		wg.Go(func() {
			dial := lab()
			for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
				p := programs[(d+n)%len(programs)]
				o, err := one(dial, p, uint64(d*1000+n))
				if err != nil {
					t.Errorf("device %d, %s: %v", d, p.name, err)
					return
				}
				if diff := Diff(p.want, o); diff != "" {
					t.Errorf("device %d, run %d, %s:\n%s\nlog: %v", d, n, p.name, diff, o.Log)
				}
				runs.Add(1)
				mu.Lock()
				s.add(o)
				mu.Unlock()
			}
		})
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for time.Now().Before(end) {
			if n := int64(len(site.Workers())); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(250 * time.Millisecond)
		}
	}()
	wg.Wait()
	<-watched
	after := quiet()
	t.Logf("%d devices for %v: %d runs, at most %d worker processes; %v", devices, last, runs.Load(), most.Load(), &s)
	t.Logf("the daemon held %d files and %.1f MB before, %d and %.1f MB after", before.files, float64(before.resident)/1e6,
		after.files, float64(after.resident)/1e6)
	if !testing.Short() && (int(most.Load()) < devices || s.offloads < int(runs.Load())/2) {
		t.Error("too little was asked of the node to mean anything")
	}
	if after.files > before.files+2 || after.resident > before.resident+64<<20 {
		t.Error("the node holds more than before")
	}
}
