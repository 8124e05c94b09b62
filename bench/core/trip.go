package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

const (
	bulkPages = 4096 // 16 MiB
	homeCalls = 200
)

// trips measures offloads over the in-memory link: of nothing, with calls home, and with much state.
func trips(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("trip", "round trips over the in-memory link, wall time",
		"engines", "what", "us", "p10", "p90", "echoes", "echoes low", "echoes high")
	t.Note("echoes: over a frame of 100 bytes that goes through the link and back, measured in turn.")
	bulk := newTable("bulk", fmt.Sprintf("moving %d MiB of pages, wall time", bulkPages*linmem.PageSize>>20),
		"way", "ms", "MB/s", "copy MB/s", "SHA-256 MB/s", "over copy", "over SHA-256", "low", "high")
	bulk.Note("copy and SHA-256 are of the same bytes, measured in turn; each trip digests its pages on both sides.")
	for _, device := range modes {
		w, err := newWorld(device, o.node)
		if err != nil {
			return nil, err
		}
		err = tripOne(ctx, o, w, t, bulk, device)
		w.close(ctx)
		if err != nil {
			return []*measure.Table{t, bulk}, err
		}
	}
	return []*measure.Table{t, bulk}, nil
}

func tripOne(ctx context.Context, o *options, w *world, t, bulk *measure.Table, device wazero.Mode) error {
	tap := &tap{}
	cfg := w.cfg
	cfg.Module, cfg.Policy = programs.Wasm("calls"), forced(tap, 1<<30, 0, 0)
	cfg.Analysis.Only = []string{"nothing", "home", "soil"}
	cfg.Local = local.Config{Stdin: strings.NewReader("")}
	in, err := runner.Load(ctx, cfg)
	if err != nil {
		return err
	}
	defer in.Close(ctx)
	if !in.AwaitClone(ctx, time.Minute) {
		return errors.New("no clone became ready")
	}
	echo, stop := newEcho(ctx)
	defer stop()
	call := func(name string, args ...uint64) (float64, error) {
		begin := time.Now()
		_, err := in.Call(ctx, name, args)
		return us(time.Since(begin)), err
	}
	var empty, home, echoes []float64
	for round := range 100 * o.rounds {
		e, err := call("nothing", 1)
		if err != nil {
			return err
		}
		base, err := echo()
		if err != nil {
			return err
		}
		if round < 20 {
			continue
		}
		empty, echoes = append(empty, e), append(echoes, base)
		if round%20 == 0 {
			h, err := call("home", homeCalls)
			if err != nil {
				return err
			}
			home = append(home, (h-e)/homeCalls)
		}
	}
	engines := device.String() + " + " + o.node
	row := func(what string, v []float64) {
		lo, hi := spread(v)
		base := measure.Median(echoes)
		r := make([]float64, len(v))
		for i := range v {
			r[i] = v[i] / base
		}
		b := bootstrap(r)
		t.Add(engines, what, measure.Median(v), lo, hi, b.mid, b.lo, b.hi)
	}
	row("empty offload", empty)
	row("home call", home)
	row("echo on the link", echoes)
	if len(tap.log) < 2 {
		return errors.New("nothing was offloaded")
	}
	if device == wazero.Compiler {
		return bulkOne(o, in, call, bulk)
	}
	return nil
}

func bulkOne(o *options, in *runner.Instance, call func(string, ...uint64) (float64, error), t *measure.Table) error {
	const size = bulkPages * linmem.PageSize
	out := make([]byte, size)
	var up, down, plain, digest []float64
	for round := range o.rounds + 1 {
		if _, err := call("dirty", 0, bulkPages); err != nil {
			return err
		}
		u, err := call("nothing", 1)
		if err != nil {
			return err
		}
		begin := time.Now()
		copy(out, in.Process().Mem.Bytes()[1<<16:])
		p := us(time.Since(begin))
		begin = time.Now()
		sha256.Sum256(out)
		s := us(time.Since(begin))
		d, err := call("soil", 0, bulkPages)
		if err != nil {
			return err
		}
		if round > 0 {
			up, down, plain, digest = append(up, u), append(down, d), append(plain, p), append(digest, s)
		}
	}
	rate := func(v []float64) float64 { return size / measure.Median(v) }
	for _, w := range []struct {
		name string
		v    []float64
	}{{"up", up}, {"down (with writing them)", down}} {
		b := bootstrap(measure.Ratios(digest, w.v))
		t.Add(w.name, measure.Median(w.v)/1e3, rate(w.v), rate(plain), rate(digest), measure.Median(measure.Ratios(plain, w.v)), b.mid, b.lo, b.hi)
	}
	return nil
}

// newEcho gives a function that measures a frame's way through an in-memory link and back.
func newEcho(ctx context.Context) (func() (float64, error), func()) {
	a, b := link.Pipe(0)
	go func() {
		for {
			f, err := b.Recv(ctx)
			if err != nil || b.Send(ctx, f) != nil {
				return
			}
		}
	}()
	return func() (float64, error) {
		begin := time.Now()
		if err := a.Send(ctx, make([]byte, 100)); err != nil {
			return 0, err
		}
		_, err := a.Recv(ctx)
		return us(time.Since(begin)), err
	}, func() { a.Close(); b.Close() }
}
