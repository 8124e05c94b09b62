package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/examples"
	"github.com/clonecloud/clonecloud/internal/conformance/corpus"
	"github.com/clonecloud/clonecloud/internal/faultproxy"
	"github.com/clonecloud/clonecloud/internal/link"
)

// auto measures what leaving `auto` on costs: each program over each kind of link, in turn with `never`. The first run knows
// nothing of the program; the later ones know what earlier ones learned.
func auto(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("auto", "whole runs with auto and a node behind a link, over whole runs with never (code cached on both sides)",
		"program", "device", "link", "never ms", "first auto ms", "auto ms", "auto/never", "extra ms", "on the clone %", "offloads", "within")
	t.Note("auto: medians of the second and later runs with the same arguments; extra: the median of the differences of pairs; "+
		"within: at most 1.05 times never and 50 ms, from the second run on. %d rounds.", o.rounds)
	n, err := newNode(o, clonecloud.NodeLimits{}, filepath.Join(o.scratch, "auto"))
	if err != nil {
		return nil, err
	}
	defer n.Close()
	cases, err := autoCases(ctx, o)
	if err != nil {
		return nil, err
	}
	worst := 0.0
	for _, name := range clonecloud.LinkProfiles() {
		if len(o.links) > 0 && !slices.Contains(o.links, name) {
			continue
		}
		v, err := newVia(n, o, name)
		if err != nil {
			return []*measure.Table{t}, err
		}
		for _, eng := range []clonecloud.EngineKind{clonecloud.EngineInterpreter, clonecloud.EngineCompiler} {
			for i := range cases {
				if eng == clonecloud.EngineCompiler && !cases[i].compiled {
					continue
				}
				w, err := autoOne(ctx, o, t, v, &cases[i], eng)
				if err != nil {
					v.close()
					return []*measure.Table{t}, fmt.Errorf("%s over %s: %w", cases[i].name, name, err)
				}
				worst = max(worst, w)
			}
		}
		v.close()
	}
	t.Note("worst: %.3f times never after 50 ms are taken off.", worst)
	return []*measure.Table{t}, nil
}

// via is a way to a node: over a link of some kind.
type via struct {
	name  string
	proxy *faultproxy.Proxy
	cloud clonecloud.RemoteCloudConfig
}

func newVia(n *clonecloud.Node, o *options, name string) (*via, error) {
	p, err := link.LookupProfile(name)
	if err != nil {
		return nil, err
	}
	v := &via{name: name}
	if v.proxy, err = faultproxy.Start(faultproxy.Config{Target: n.Addr().String(), Profile: p}); err != nil {
		return nil, err
	}
	v.cloud = clonecloud.RemoteCloudConfig{
		Address:    strings.Replace(n.Address(), n.Addr().String(), v.proxy.Addr(), 1),
		DeviceFile: filepath.Join(o.scratch, "auto-"+name+".key"),
	}
	return v, nil
}

func (v *via) close() { v.proxy.Close() }

// autoCase is a program with its input.
type autoCase struct {
	name     string
	compiled bool // measured on a compiling device too
	wasm     []byte
	args     []string
	env      []string
	stdin    []byte
	exit     uint32
	prepare  func(dir string) ([]clonecloud.Mount, error) // a fresh input; nil: none
}

func autoCases(ctx context.Context, o *options) ([]autoCase, error) {
	var cases []autoCase
	for _, p := range programs.List() {
		c := autoCase{name: p.Name, compiled: p.Name == "nbody", wasm: programs.Wasm(p.Name), args: []string{p.Name, p.Long}}
		cases = append(cases, c)
		c.name, c.args = c.name+" short", []string{p.Name, p.Interpreted}
		cases = append(cases, c)
	}
	for _, p := range examples.Programs() {
		if len(p.Wasm) == 0 {
			file := filepath.Join(o.scratch, p.Name+".wasm")
			if err := goBuild(ctx, file, "./"+p.Source, "GOOS=wasip1", "GOARCH=wasm"); err != nil {
				return nil, err
			}
			var err error
			if p.Wasm, err = os.ReadFile(file); err != nil {
				return nil, err
			}
		}
		cases = append(cases, autoCase{name: p.Name, compiled: true, wasm: p.Wasm, args: p.Args, exit: p.Exit, prepare: func(dir string) ([]clonecloud.Mount, error) {
			return []clonecloud.Mount{{Host: dir, Guest: examples.Mount}}, p.Generate(dir, examples.Small, 1)
		}})
	}
	if o.programs != "" {
		more, err := realCases(o)
		if err != nil {
			return nil, err
		}
		cases = append(cases, more...)
	}
	return slices.DeleteFunc(cases, func(c autoCase) bool { return !strings.Contains(c.name, o.filter) }), nil
}

// realCases are programs that were not written for this, as far as they are built.
func realCases(o *options) ([]autoCase, error) {
	ps, err := corpus.Commands()
	if err != nil {
		return nil, err
	}
	var cases []autoCase
	for _, p := range ps {
		r, built := p.Runs[0], p.Built(o.programs)
		bin, err := os.ReadFile(filepath.Join(built, p.Module(&r)))
		if errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "auto: %s is not built\n", p.Name)
			continue
		}
		if err != nil {
			return nil, err
		}
		c := autoCase{name: p.Name + " (" + p.Lang + ")", wasm: bin, args: r.Args, env: r.Env, exit: r.Exit}
		if r.Stdin != "" {
			if c.stdin, err = corpus.Input(built, r.Stdin); err != nil {
				return nil, err
			}
		}
		c.prepare = func(dir string) ([]clonecloud.Mount, error) {
			var mounts []clonecloud.Mount
			ms, err := p.Prepare(built, dir)
			for _, m := range ms {
				mounts = append(mounts, clonecloud.Mount{Host: m.Host, Guest: m.Guest})
			}
			return mounts, err
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// run runs the case once over fresh input: seconds, output, report.
func (c *autoCase) run(ctx context.Context, o *options, cfg clonecloud.Config) (float64, string, *clonecloud.Report, error) {
	dir, err := os.MkdirTemp(o.scratch, "input")
	if err != nil {
		return 0, "", nil, err
	}
	defer os.RemoveAll(dir)
	if c.prepare != nil {
		if cfg.Mounts, err = c.prepare(dir); err != nil {
			return 0, "", nil, err
		}
	}
	var out bytes.Buffer
	cfg.Module, cfg.Args, cfg.Env, cfg.Stdin, cfg.Stdout, cfg.Seed = c.wasm, c.args, c.env, bytes.NewReader(c.stdin), &out, 1
	cfg.CacheDir = filepath.Join(o.scratch, "code")
	if o.events {
		cfg.Events = func(e clonecloud.Event) { fmt.Fprintf(os.Stderr, "%10.3f ms  %v\n", float64(e.At)/1e6, e) }
	}
	begin := time.Now()
	r, err := clonecloud.Run(ctx, cfg)
	took := time.Since(begin).Seconds()
	var exit *clonecloud.ExitError
	if errors.As(err, &exit) && exit.Code == c.exit {
		err = nil
	}
	return took, out.String(), r, err
}

// autoOne measures one program on one device over one link.
func autoOne(ctx context.Context, o *options, t *measure.Table, v *via, c *autoCase, eng clonecloud.EngineKind) (float64, error) {
	rc := v.cloud
	rc.MemoryDir = filepath.Join(o.scratch, fmt.Sprintf("auto-known-%s-%s-%s", v.name, eng, c.name))
	var first, share float64
	var offloads int
	var never, auto, extra []float64
	if _, err := clonecloud.QueryNode(ctx, rc); err != nil { // as cloud add does
		return 0, err
	}
	for round := -1; round < o.rounds; round++ {
		var took [2]float64
		var out [2]string
		for k := range 2 {
			if round%2 == 0 {
				k = 1 - k
			}
			cloud, err := clonecloud.NewRemoteCloud(rc)
			if err != nil {
				return 0, err
			}
			defer cloud.Close()
			cfg := clonecloud.Config{Engine: eng, Cloud: cloud, Offload: clonecloud.OffloadNever}
			if k == 1 {
				cfg.Offload = clonecloud.OffloadAuto
			}
			var r *clonecloud.Report
			if took[k], out[k], r, err = c.run(ctx, o, cfg); err != nil {
				return 0, err
			}
			if k == 1 {
				share = r.Share
				offloads, _ = r.Offloads()
			}
		}
		if out[0] != out[1] {
			return 0, errors.New("outputs differ")
		}
		if round < 0 {
			first = took[1]
			continue
		}
		never, auto, extra = append(never, took[0]), append(auto, took[1]), append(extra, took[1]-took[0])
	}
	n, a, e := measure.Median(never), measure.Median(auto), measure.Median(extra)
	t.Add(c.name, string(eng), v.name, 1e3*n, 1e3*first, 1e3*a, a/n, 1e3*e, 100*share, offloads, e <= 0.05*n+0.05)
	return math.Max((n+e-0.05)/n, 0), nil
}
