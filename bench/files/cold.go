package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/link"
)

// coldCases are the networks, and the share of the full tree that passes over each in a minute or two.
var coldCases = []struct {
	link   string
	share  float64
	rounds int // so many, of five
}{
	{"lan", 1, 3}, {"5g", 1, 2}, {"lte", 0.06, 2}, {"wifi", 0.06, 2},
}

// cold measures scans of trees that neither the node nor the device's own cache know anything of.
func cold(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := table("cold", "scanning a tree of which the node has nothing, over rsync -z of the same tree over the same network to an empty folder",
		"link", "files", "MB", "rounds", "scan s", "whole run s", "rsync -z s", "scan/rsync", "low", "high", "whole run/rsync", "scan alone s", "scan/rsync and scan alone", "scan MB up", "rsync MB up")
	t.Note("Scan alone: the same program without a cloud, over the same tree. Where it takes longer than rsync, no scan of what has yet to come is as soon done as rsync; " +
		"copying with rsync and then scanning takes the sum.")
	t.Note("The scan is the offload, from its departure to its end: what the virus scanner computes is in it, and TLS. The whole run begins before the device connects. "+
		"The node has the module; a scan of another, small tree goes before, so that the worker runs. %s; it copies, without encryption.", rsyncVersion(ctx))
	p, err := o.scanner(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range coldCases {
		if len(o.links) > 0 && !slices.Contains(o.links, c.link) {
			continue
		}
		if err := coldOne(ctx, o, t, p, c.link, o.scaled(c.share), max(o.rounds*c.rounds/5, 1)); err != nil {
			return []*measure.Table{t}, fmt.Errorf("over %s: %w", c.link, err)
		}
	}
	return []*measure.Table{t}, nil
}

func coldOne(ctx context.Context, o *options, t *measure.Table, p *program, name string, spec treeSpec, rounds int) error {
	profile, err := link.LookupProfile(name)
	if err != nil {
		return err
	}
	tr, err := o.tree(ctx, spec)
	if err != nil {
		return err
	}
	r, err := newRsync(ctx, o.scratch, profile)
	if err != nil {
		return err
	}
	defer r.close()
	var scans, wholes, copies, alone, up, copyUp []float64
	for round := range rounds {
		scanOnce := func() error {
			x, err := o.coldScan(ctx, p, tr, profile)
			if err == nil {
				scans, wholes = append(scans, x.trip.took.Seconds()), append(wholes, x.seconds)
				up = append(up, x.up/1e6)
			}
			return err
		}
		copyOnce := func() error {
			c, err := r.copy(ctx, tr, round)
			copies, copyUp = append(copies, c.seconds), append(copyUp, c.up/1e6)
			return err
		}
		if err := inTurn(ctx, round, copyOnce, scanOnce); err != nil {
			return err
		}
		x, err := execute(ctx, p, o.config(p, tr.dir))
		if err != nil {
			return err
		}
		alone = append(alone, (x.report.Wall - x.report.Start).Seconds())
	}
	both := make([]float64, len(copies))
	for i := range both {
		both[i] = copies[i] + alone[i]
	}
	b := measure.Bootstrap(measure.Ratios(copies, scans))
	t.Add(name, tr.files, float64(tr.bytes)/1e6, rounds, measure.Median(scans), measure.Median(wholes), measure.Median(copies), b.Mid, b.Low, b.High,
		measure.Median(measure.Ratios(copies, wholes)), measure.Median(alone), measure.Median(measure.Ratios(both, scans)), measure.Median(up), measure.Median(copyUp))
	return nil
}

// inTurn does one thing and then the other, in a round with an odd number the other way round. What the one has left for the
// disk does not wait for the other.
func inTurn(ctx context.Context, round int, a, b func() error) error {
	if round%2 != 0 {
		a, b = b, a
	}
	for _, f := range []func() error{a, b} {
		settle(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// coldScan scans a tree in a world of its own.
func (o *options) coldScan(ctx context.Context, p *program, tr *tree, profile link.Profile) (*outcome, error) {
	w, err := o.newWorld(ctx, link.Profile{})
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.warmUp(ctx, p); err != nil {
		return nil, err
	}
	w.proxy.SetProfile(profile)
	x, err := w.run(ctx, p, tr.dir)
	if err != nil {
		return nil, err
	}
	return x, tr.check(x.out)
}

// warmUp runs a program over a tree that has nothing in common with those that are measured: the node has its code then.
func (w *world) warmUp(ctx context.Context, p *program) error {
	small, err := w.o.tree(ctx, treeSpec{files: 30, bytes: 1e6, seed: w.o.seed + 1<<32})
	if err != nil {
		return err
	}
	_, err = w.run(ctx, p, small.dir)
	return err
}
