package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wasm"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// What is asked of a further clone.
const (
	mostMilliseconds = 5
	mostKiB          = 1024
)

// clones measures what a further clone costs of a module that is in use: from the device's greeting until the clone says
// that it is ready. It has no dirty pages then.
func clones(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("clones", "a further clone of a module that other clones run, from greeting to ready; wall time",
		"where", "module", "KB", "engine", "clones", "ms", "p90 ms", "KiB each", "held")
	t.Note("KiB: what a clone adds to the process's share of memory (PSS), its conversation included; within one process that is both ends of it. "+
		"held: at most %d ms and %d KiB.", mostMilliseconds, mostKiB)
	n, err := o.builder()
	if err != nil {
		return nil, err
	}
	modules := []*cloneable{{name: "fib (C)", bin: programs.Wasm("fib")}}
	if !o.quick {
		bin, err := n.goModule(ctx)
		if err != nil {
			return nil, err
		}
		modules = append(modules, &cloneable{name: "gowork (Go)", bin: bin})
	}
	for _, m := range modules {
		if err := m.greeting(); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		for _, kind := range o.kinds {
			for _, where := range []func(context.Context, *options, *measure.Table, *cloneable, string) error{inProcess, onNode} {
				err := where(ctx, o, t, m, kind)
				if errors.Is(err, clonecloud.ErrConfig) {
					t.Note("%s: %v.", kind, err)
					continue
				}
				if err != nil {
					return []*measure.Table{t}, fmt.Errorf("%s, %s: %w", m.name, kind, err)
				}
			}
		}
	}
	return []*measure.Table{t}, nil
}

// cloneable is a module with what a device says of it.
type cloneable struct {
	name  string
	bin   []byte
	hello wire.Hello
}

// greeting makes the greeting of a device that has chosen its candidates.
func (c *cloneable) greeting() error {
	m, err := wasm.Decode(c.bin)
	if err != nil {
		return err
	}
	cs, err := candidates(m)
	if err != nil {
		return err
	}
	id := migrate.Identity(c.bin)
	c.hello = wire.Hello{
		Version: wire.Version, Module: id, Candidates: cs, Options: wire.OptionPoll, Code: migrate.CloneCode(id, cs, wire.OptionPoll, nil),
	}
	return nil
}

// piece is how many bytes of a module are sent at once.
const piece = 64 << 10

// open makes a clone, and waits until it is ready.
func (c *cloneable) open(ctx context.Context, dial link.Dialer) (*peer.Endpoint, error) {
	hello := c.hello
	if _, err := rand.Read(hello.Session[:]); err != nil {
		return nil, err
	}
	e, welcome, err := peer.Dial(ctx, dial, hello, peer.Config{})
	if err != nil {
		return nil, err
	}
	for at := 0; !welcome.HaveModule && at < len(c.bin); at += piece {
		m := &wire.Module{Total: uint64(len(c.bin)), Offset: uint64(at), Data: c.bin[at:min(at+piece, len(c.bin))]}
		if err := e.Send(ctx, m); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for {
		m, err := e.Recv(ctx)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		if _, ok := m.(*wire.SyncState); ok {
			return e, nil
		}
	}
}

// inProcess measures clones of a host within this process.
func inProcess(ctx context.Context, o *options, t *measure.Table, c *cloneable, kind string) error {
	eng, err := engines.New(kind, "")
	if err != nil {
		return err
	}
	defer eng.Close(ctx)
	host := &clone.Host{Engines: []engine.Engine{eng}}
	defer host.Close(ctx)
	dial := func(context.Context) (link.Link, error) {
		here, there := link.Pipe(0)
		go func() { _ = host.Accept(context.Background(), there) }() // the other end says what is wrong
		return here, nil
	}
	return c.measure(ctx, o, t, "process", kind, dial, ownShare)
}

// onNode measures clones in a worker process of a node, over TLS.
func onNode(ctx context.Context, o *options, t *measure.Table, c *cloneable, kind string) error {
	dir, err := os.MkdirTemp(o.scratch, "node")
	if err != nil {
		return err
	}
	n, err := clonecloud.StartNode(ctx, clonecloud.NodeConfig{
		Listen: "127.0.0.1:0", CacheDir: filepath.Join(dir, "cache"), Engine: clonecloud.EngineKind(kind),
		Log: func(format string, args ...any) {
			if o.verbose {
				fmt.Fprintf(os.Stderr, "node: "+format+"\n", args...)
			}
		},
	})
	if err != nil {
		return err
	}
	defer n.Close()
	a, err := trust.ParseAddress(n.Address())
	if err != nil {
		return err
	}
	r := &remote.Node{Address: a, Device: trust.NewSecret()}
	return c.measure(ctx, o, t, "node, TLS", kind, r.Connect, childrenShares)
}

// measure opens clones, which stay, and adds a row. resident reads the memory of whoever runs them.
func (c *cloneable) measure(ctx context.Context, o *options, t *measure.Table, where, kind string, dial link.Dialer, resident func() (shares, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	warm, count := 5, min(10*o.rounds, 24) // a node gives one device 32
	var took []float64
	var before shares
	var untold error
	memory := func() (shares, error) { return settled(ctx, resident) }
	if o.quick {
		memory = resident
	}
	for i := range warm + count {
		if i == warm {
			before, untold = memory()
		}
		begin := time.Now()
		e, err := c.open(ctx, dial)
		if err != nil {
			return fmt.Errorf("clone %d: %w", i, err)
		}
		defer e.Close()
		if i >= warm {
			took = append(took, ms(begin))
		}
	}
	row := []any{where, c.name, float64(len(c.bin)) / 1e3, kind, count, measure.Median(took), measure.Quantile(took, 0.9)}
	after, err := memory()
	each := after.since(before) / 1024 / float64(count)
	switch err := errors.Join(untold, err); {
	case err != nil:
		t.Note("%s, %s, %s: memory is not told: %v.", where, c.name, kind, err)
		row = append(row, "", "")
	case each <= 0:
		t.Note("%s, %s, %s: memory fell meanwhile, by %.0f KiB for each clone: what was there before hides what they take.", where, c.name, kind, -each)
		row = append(row, "", "")
	default:
		row = append(row, each, measure.Median(took) <= mostMilliseconds && each <= mostKiB)
	}
	t.Add(row...)
	return nil
}
