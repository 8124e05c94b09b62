package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/faultproxy"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// newNode starts a node whose workers are processes of this executable.
func newNode(o *options, limits clonecloud.NodeLimits, cache string) (*clonecloud.Node, error) {
	return clonecloud.StartNode(context.Background(), clonecloud.NodeConfig{
		Listen: "127.0.0.1:0", CacheDir: cache, Limits: limits, Engine: clonecloud.EngineKind(o.node),
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "node: "+format+"\n", args...) },
	})
}

func reach(n *clonecloud.Node) (*remote.Node, error) {
	a, err := trust.ParseAddress(n.Address())
	return &remote.Node{Address: a, Device: trust.NewSecret()}, err
}

// network measures offloads over TLS to a worker process.
func network(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("net", "an empty offload over loopback TLS to a worker process, over a TLS echo of the same bytes to a plain process; wall time",
		"what", "us", "p10", "p90", "echoes", "low", "high")
	bulk := newTable("net-bulk", fmt.Sprintf("moving %d MiB of pages over loopback TLS, over a plain TLS stream of the same bytes; wall time", bulkPages*linmem.PageSize>>20),
		"way", "ms", "MB/s", "stream MB/s", "rate over stream", "low", "high")
	n, err := newNode(o, clonecloud.NodeLimits{}, filepath.Join(o.scratch, "net"))
	if err != nil {
		return nil, err
	}
	defer n.Close()
	r, err := reach(n)
	if err != nil {
		return nil, err
	}
	y, err := newYardstick()
	if err != nil {
		return nil, err
	}
	defer y.close()
	w, err := newWorld(wazero.Compiler, o.node)
	if err != nil {
		return nil, err
	}
	defer w.close(ctx)
	tap := &tap{}
	cfg := w.cfg
	cfg.Dial = r.Connect
	cfg.Module, cfg.Policy = programs.Wasm("calls"), forced(tap, 1<<30, 0, 0)
	cfg.Analysis.Only = []string{"nothing", "home", "soil"}
	cfg.Local = local.Config{Stdin: strings.NewReader("")}
	in, err := runner.Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer in.Close(ctx)
	if !in.AwaitClone(ctx, time.Minute) {
		return nil, errors.New("no clone became ready")
	}
	call := func(name string, args ...uint64) (float64, error) {
		begin := time.Now()
		_, err := in.Call(ctx, name, args)
		return us(time.Since(begin)), err
	}
	if err := emptyOffload(o, in, y, call, t); err != nil {
		return []*measure.Table{t}, err
	}
	return []*measure.Table{t, bulk}, bulkStream(o, y, call, bulk)
}

func emptyOffload(o *options, in *runner.Instance, y *yardstick, call func(string, ...uint64) (float64, error), t *measure.Table) error {
	for range 50 {
		if _, err := call("nothing", 1); err != nil {
			return err
		}
	}
	upBefore, downBefore := in.Traffic()
	const probe = 50
	for range probe {
		if _, err := call("nothing", 1); err != nil {
			return err
		}
	}
	up, down := in.Traffic()
	up, down = (up-upBefore)/probe, (down-downBefore)/probe
	t.Note("an empty offload sends %d bytes and receives %d.", up, down)
	var empty, echoes []float64
	for round := range 200 * o.rounds {
		e, err := call("nothing", 1)
		if err != nil {
			return err
		}
		base, err := y.exchange(up, down)
		if err != nil {
			return err
		}
		if round >= 50 {
			empty, echoes = append(empty, e), append(echoes, base)
		}
	}
	row := func(what string, v []float64) {
		lo, hi := spread(v)
		b := bootstrap(measure.Ratios(echoes, v))
		t.Add(what, measure.Median(v), lo, hi, b.mid, b.lo, b.hi)
	}
	row("empty offload", empty)
	row("TLS echo", echoes)
	return nil
}

func bulkStream(o *options, y *yardstick, call func(string, ...uint64) (float64, error), t *measure.Table) error {
	const size = bulkPages * linmem.PageSize
	var up, down, streamUp, streamDown []float64
	for round := range o.rounds + 1 {
		if _, err := call("dirty", 0, bulkPages); err != nil {
			return err
		}
		u, err := call("nothing", 1)
		if err != nil {
			return err
		}
		su, err := y.exchange(size, 1)
		if err != nil {
			return err
		}
		d, err := call("soil", 0, bulkPages)
		if err != nil {
			return err
		}
		sd, err := y.exchange(1, size)
		if err != nil {
			return err
		}
		if round > 0 {
			up, down, streamUp, streamDown = append(up, u), append(down, d), append(streamUp, su), append(streamDown, sd)
		}
	}
	for _, w := range []struct {
		name    string
		v, base []float64
	}{{"up", up, streamUp}, {"down (with writing them)", down, streamDown}} {
		b := bootstrap(measure.Ratios(w.v, w.base))
		t.Add(w.name, measure.Median(w.v)/1e3, size/measure.Median(w.v), size/measure.Median(w.base), b.mid, b.lo, b.hi)
	}
	return nil
}

// again measures the start of a second run over a slow link: how many round trips a whole run takes whose only call
// moves at once.
func again(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("again", "whole runs of a program whose only call moves at once, over shaped links",
		"link", "RTT ms", "run", "wall ms", "round trips")
	for _, name := range []string{"lte", "wifi", "3g"} {
		p, err := link.LookupProfile(name)
		if err != nil {
			return nil, err
		}
		p.Jitter = 0
		if err := againOver(ctx, o, p, t); err != nil {
			return []*measure.Table{t}, err
		}
	}
	t.Note("the last round trip is the offload's own: it departs after the others.")
	return []*measure.Table{t}, nil
}

func againOver(ctx context.Context, o *options, p link.Profile, t *measure.Table) error {
	n, err := newNode(o, clonecloud.NodeLimits{}, filepath.Join(o.scratch, "again"))
	if err != nil {
		return err
	}
	defer n.Close()
	proxy, err := faultproxy.Start(faultproxy.Config{Target: n.Addr().String(), Profile: p})
	if err != nil {
		return err
	}
	defer proxy.Close()
	addr := strings.Replace(n.Address(), n.Addr().String(), proxy.Addr(), 1)
	cfg := clonecloud.RemoteCloudConfig{
		Address: addr, DeviceFile: filepath.Join(o.scratch, "again-"+p.Name+".key"), MemoryDir: filepath.Join(o.scratch, "again-known-"+p.Name),
	}
	if _, err := clonecloud.QueryNode(ctx, cfg); err != nil { // as cloud add does
		return err
	}
	for run := range 4 {
		cloud, err := clonecloud.NewRemoteCloud(cfg)
		if err != nil {
			return err
		}
		begin := time.Now()
		r, err := clonecloud.Run(ctx, clonecloud.Config{
			Module: programs.Wasm("calls"), Cloud: cloud, Offload: clonecloud.OffloadListed, Functions: []string{"nothing"},
			Invoke: "nothing", Params: []uint64{1}, Stdin: strings.NewReader(""), Stdout: io.Discard,
		})
		took := time.Since(begin)
		cloud.Close()
		if err != nil {
			return err
		}
		if done, _ := r.Offloads(); done != 1 {
			return fmt.Errorf("%d offloads in place of one", done)
		}
		t.Add(p.Name, float64(p.RTT)/1e6, strconv.Itoa(run+1), float64(took)/1e6, float64(took)/float64(p.RTT))
	}
	return nil
}

// idle measures what an idle conversation costs a worker.
func idle(ctx context.Context, o *options) ([]*measure.Table, error) {
	const links = 200
	t := newTable("idle", "memory of a worker process for an idle link, and for one with a clone that has run",
		"what", "links", "KiB each")
	n, err := newNode(o, clonecloud.NodeLimits{Links: 2 * links, Clones: 2 * links}, "")
	if err != nil {
		return nil, err
	}
	defer n.Close()
	r, err := reach(n)
	if err != nil {
		return nil, err
	}
	w, err := newWorld(wazero.Compiler, o.node)
	if err != nil {
		return nil, err
	}
	defer w.close(ctx)
	var instances []*runner.Instance
	defer func() {
		for _, in := range instances {
			in.Close(ctx)
		}
	}()
	open := func(count int, call bool) error {
		for range count {
			cfg := w.cfg
			cfg.Dial = r.Connect
			cfg.Module, cfg.Policy = programs.Wasm("calls"), forced(&tap{}, 1<<30, 0, 0)
			cfg.Analysis.Only = []string{"nothing", "home", "soil"}
			cfg.Local = local.Config{Stdin: strings.NewReader("")}
			in, err := runner.Load(ctx, cfg)
			if err != nil {
				return err
			}
			instances = append(instances, in)
			if !in.AwaitClone(ctx, time.Minute) {
				return errors.New("no clone became ready")
			}
			if call {
				if _, err := in.Call(ctx, "nothing", []uint64{1}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	resident := func() (uint64, error) { return settled(n) }
	if err := open(20, false); err != nil { // what is needed once
		return nil, err
	}
	for _, called := range []bool{false, true} {
		before, err := resident()
		if err != nil {
			return nil, err
		}
		if err := open(links/2, called); err != nil {
			return nil, err
		}
		after, err := resident()
		if err != nil {
			return nil, err
		}
		what := "link with a clone that has not run"
		if called {
			what = "link with a clone that has run once"
		}
		t.Add(what, links/2, (float64(after)-float64(before))/1024/(links/2))
	}
	return []*measure.Table{t}, nil
}

// settled is the resident memory of a node's workers once it has stopped changing.
func settled(n *clonecloud.Node) (uint64, error) {
	var last uint64
	for range 60 {
		time.Sleep(time.Second) // the workers report once a second
		s := n.Status()
		if s.Memory == 0 {
			return 0, errors.New("this system does not tell resident memory")
		}
		if d := float64(s.Memory) - float64(last); d < 64<<10 && d > -64<<10 {
			return s.Memory, nil
		}
		last = s.Memory
	}
	return last, nil
}
