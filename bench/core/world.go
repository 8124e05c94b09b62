package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// world is a device and a node within this process.
type world struct {
	cfg  runner.Config
	host *clone.Host
}

// newWorld makes one, with an engine of the kind node on the node.
func newWorld(device wazero.Mode, node string) (*world, error) {
	here, err := wazero.New(wazero.Options{Mode: device})
	if err != nil {
		return nil, err
	}
	there, err := engines.New(node, "")
	if err != nil {
		return nil, errors.Join(err, here.Close(context.Background()))
	}
	w := &world{host: &clone.Host{Engines: []engine.Engine{there}}}
	w.cfg = runner.Config{
		Engine: here, Wait: time.Minute, CanonicalNaN: here.Name() != there.Name(), Args: []string{"program"}, Seed: [32]byte{1},
		Dial: func(context.Context) (link.Link, error) {
			a, b := link.Pipe(0)
			go w.host.Accept(context.Background(), b)
			return a, nil
		},
	}
	return w, nil
}

func (w *world) close(ctx context.Context) {
	w.host.Close(ctx)
	w.host.Engines[0].Close(ctx)
	w.cfg.Engine.Close(ctx)
}

// tap is a policy that writes down what became of each offload.
type tap struct {
	device.Policy
	log map[uint32][]device.Outcome
}

// Offloaded implements device.Policy.
func (t *tap) Offloaded(id uint32, now time.Duration, o device.Outcome) {
	t.log[id] = append(t.log[id], o)
	t.Policy.Offloaded(id, now, o)
}

// forced sends the calls of candidates that are below depth others, the first of each and a share of the rest.
func forced(t *tap, first, depth int, sample float64) func(*analysis.Report, []analysis.Func) device.Policy {
	t.log = map[uint32][]device.Outcome{}
	return func(*analysis.Report, []analysis.Func) device.Policy {
		f := device.NewForced(1, first, sample)
		f.Depth = depth
		t.Policy = f
		return t
	}
}

// run runs a program to its end.
func (w *world) run(ctx context.Context, j *job, set func(*runner.Config)) (*device.Report, string, error) {
	cfg := w.cfg
	var out bytes.Buffer
	cfg.Module, cfg.Args, cfg.Env = j.wasm, j.args, j.env
	cfg.Local = local.Config{Stdin: bytes.NewReader(j.stdin), Stdout: &out, Stderr: io.Discard, Mounts: j.mount}
	set(&cfg)
	r, err := runner.Run(ctx, cfg)
	var exit *wasi.ExitError
	if errors.As(err, &exit) && exit.Code == j.exit {
		err = nil
	}
	if r == nil {
		return nil, "", err
	}
	return &r.Report, out.String(), err
}

func mount(host, guest string) ([]local.Mount, error) {
	dir, err := vfs.OpenHost(host)
	if err != nil {
		return nil, err
	}
	return []local.Mount{{FS: dir, Guest: guest}}, nil
}
