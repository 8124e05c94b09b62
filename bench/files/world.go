package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/examples"
	"github.com/clonecloud/clonecloud/internal/faultproxy"
	"github.com/clonecloud/clonecloud/internal/link"
)

// world is a node that has no files yet, a network, and a device that knows of no directory.
type world struct {
	o     *options
	dir   string
	node  *clonecloud.Node
	proxy *faultproxy.Proxy
	cloud clonecloud.RemoteCloudConfig
}

// newWorld starts a node behind a network. Modules and compiled code are those of all worlds.
func (o *options) newWorld(ctx context.Context, p link.Profile) (_ *world, err error) {
	w := &world{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp(o.scratch, "world-"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w.node, err = clonecloud.StartNode(ctx, clonecloud.NodeConfig{
		Listen: "127.0.0.1:0", StateDir: filepath.Join(w.dir, "node"), CacheDir: filepath.Join(o.scratch, "modules"),
		Worker: []string{self, workerArg, o.profiles}, Log: o.say("node"), Engine: clonecloud.EngineCompiler,
	})
	if err != nil {
		return nil, err
	}
	if w.proxy, err = faultproxy.Start(faultproxy.Config{Target: w.node.Addr().String(), Profile: p}); err != nil {
		return nil, err
	}
	w.cloud = clonecloud.RemoteCloudConfig{
		Address:    strings.Replace(w.node.Address(), w.node.Addr().String(), w.proxy.Addr(), 1),
		DeviceFile: filepath.Join(w.dir, "device.key"), MemoryDir: filepath.Join(w.dir, "known"),
	}
	_, err = clonecloud.QueryNode(ctx, w.cloud) // as cloud add does
	return w, err
}

// close ends the node and removes what it had.
func (w *world) close() error {
	var errs []error
	if w.proxy != nil {
		errs = append(errs, w.proxy.Close())
	}
	if w.node != nil {
		errs = append(errs, w.node.Close())
	}
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

func (o *options) say(who string) func(string, ...any) {
	if !o.verbose {
		return nil
	}
	return func(format string, args ...any) { fmt.Fprintf(os.Stderr, who+": "+format+"\n", args...) }
}

// config is that of a run on the device alone.
func (o *options) config(p *program, dir string) clonecloud.Config {
	return clonecloud.Config{
		Module: p.wasm, Args: p.args, Mounts: []clonecloud.Mount{{Host: dir, Guest: examples.Mount}}, Stdin: strings.NewReader(""),
		Engine: clonecloud.EngineCompiler, CacheDir: filepath.Join(o.scratch, "code"), Seed: o.seed, Log: o.say("device"),
	}
}

// config is that of a run whose function moves, with what the device has learned of directories in earlier runs of the world.
func (w *world) config(p *program, dir string, watch *watch) (clonecloud.Config, error) {
	cfg := w.o.config(p, dir)
	cloud, err := clonecloud.NewRemoteCloud(w.cloud)
	if err != nil {
		return cfg, err
	}
	cfg.Cloud, cfg.Offload, cfg.Functions = cloud, clonecloud.OffloadListed, []string{p.move}
	cfg.FilesDir, cfg.Events = filepath.Join(w.dir, "files"), watch.take
	if w.o.events {
		cfg.Events = clonecloud.JoinEvents(watch.take, func(e clonecloud.Event) {
			fmt.Fprintf(os.Stderr, "%10.3f ms  %v\n", float64(e.At)/1e6, e)
		})
	}
	return cfg, nil
}

// outcome is a run of a program, or a call of one.
type outcome struct {
	seconds  float64
	out      string
	report   *clonecloud.Report
	trip     trip    // its offload
	up, down float64 // all bytes on the link
}

// run runs a program, all of it on the clone.
func (w *world) run(ctx context.Context, p *program, dir string) (*outcome, error) {
	watch := newWatch()
	cfg, err := w.config(p, dir, watch)
	if err != nil {
		return nil, err
	}
	defer cfg.Cloud.Close()
	up, down := w.proxy.Traffic()
	x, err := execute(ctx, p, cfg)
	if err != nil {
		return nil, err
	}
	x.up, x.down = w.moved(up, down)
	trips := watch.ended()
	if err := w.judge(x.report, trips, 1); err != nil {
		return nil, err
	}
	x.trip = trips[0]
	return x, nil
}

// moved is what has passed since the traffic was as it is given.
func (w *world) moved(up, down uint64) (u, d float64) {
	nowUp, nowDown := w.proxy.Traffic()
	return float64(nowUp - up), float64(nowDown - down)
}

// judge says what is wrong with a run: that it did not do what is to be measured.
func (w *world) judge(r *clonecloud.Report, trips []trip, want int) error {
	done, back := r.Offloads()
	if done != want || back != 0 || len(trips) != want {
		var why []string
		for _, f := range r.Functions {
			for reason, n := range f.Kept {
				why = append(why, fmt.Sprintf("%d calls of %s were kept: %s", n, f.Name, reason))
			}
			for reason, n := range f.Fallbacks {
				why = append(why, fmt.Sprintf("%d offloads of %s failed: %s", n, f.Name, reason))
			}
		}
		return fmt.Errorf("%d offloads and %d fallbacks in place of %d offloads; %s %s", done, back, want, strings.Join(why, "; "), r.Stay)
	}
	for _, t := range trips {
		if !t.follows {
			return errors.New("the directory did not follow the process")
		}
	}
	return nil
}

// execute runs a program once, wherever it may.
func execute(ctx context.Context, p *program, cfg clonecloud.Config) (*outcome, error) {
	var out, errs bytes.Buffer
	cfg.Stdout, cfg.Stderr = &out, &errs
	begin := time.Now()
	r, err := clonecloud.Run(ctx, cfg)
	x := &outcome{seconds: time.Since(begin).Seconds(), out: out.String(), report: r}
	var exit *clonecloud.ExitError
	if errors.As(err, &exit) && exit.Code == p.exit {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", p.args[0], err, errs.Bytes())
	}
	return x, nil
}

// library is a process of the reader whose clone is ready.
type library struct {
	w     *world
	watch *watch
	cloud clonecloud.Cloud
	prog  *clonecloud.Program
	proc  *clonecloud.Process
	calls int
}

// open makes a process of the reader, of which one function moves, and waits for its clone.
func (w *world) open(ctx context.Context, move, dir string) (_ *library, err error) {
	l := &library{w: w, watch: newWatch()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	cfg, err := w.config(&program{wasm: readerWasm, args: []string{"reader"}, move: move}, dir, l.watch)
	if err != nil {
		return nil, err
	}
	l.cloud = cfg.Cloud
	cfg.Stdout = io.Discard
	if l.prog, err = clonecloud.Load(ctx, cfg); err != nil {
		return nil, err
	}
	if l.proc, err = l.prog.Start(ctx, clonecloud.StartConfig{}); err != nil {
		return nil, err
	}
	select {
	case <-l.watch.ready:
		return l, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *library) close() error {
	var errs []error
	if l.proc != nil {
		errs = append(errs, l.proc.Close())
	}
	if l.prog != nil {
		errs = append(errs, l.prog.Close())
	}
	if l.cloud != nil {
		errs = append(errs, l.cloud.Close())
	}
	return errors.Join(errs...)
}

// call calls the function that moves, and compares what it comes to.
func (l *library) call(ctx context.Context, want digested, name string, args ...uint64) (*outcome, error) {
	up, down := l.w.proxy.Traffic()
	begin := time.Now()
	sum, err := l.proc.Call(ctx, name, args...)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", name, err)
	}
	x := &outcome{seconds: time.Since(begin).Seconds()}
	x.up, x.down = l.w.moved(up, down)
	got := digested{sum: sum[0]}
	for _, v := range []struct {
		name string
		to   *uint64
	}{{"bytes", &got.bytes}, {"files", &got.files}} {
		n, err := l.proc.Call(ctx, v.name)
		if err != nil {
			return nil, err
		}
		*v.to = n[0]
	}
	if got != want {
		return nil, fmt.Errorf("%s comes to %+v, and the files to %+v", name, got, want)
	}
	l.calls++
	if x.report, err = l.proc.Report(); err != nil {
		return nil, err
	}
	trips := l.watch.ended()
	if err := l.w.judge(x.report, trips, l.calls); err != nil {
		return nil, err
	}
	x.trip = trips[len(trips)-1]
	return x, nil
}
