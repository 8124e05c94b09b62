package main

import (
	"context"
	"fmt"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/link"
)

// far is the network of the second offloads: as slow as a satellite's or another continent's, so that a round trip is seen.
var far = link.Profile{Name: "far", RTT: 200 * time.Millisecond}

// second measures what a second offload moves after one file has changed: of a new run of the virus scanner, and of another
// call in the same process.
func second(ctx context.Context, o *options) ([]*measure.Table, error) {
	spec := o.scaled(1)
	tr, err := o.tree(ctx, spec)
	if err != nil {
		return nil, err
	}
	t := table("second", fmt.Sprintf("offloads that read all of %d files, %.0f MB; the later ones over a link of %v", tr.files, float64(tr.bytes)/1e6, far.RTT),
		"program", "offload", "KB up", "KB down", "% of the tree", "asked before it was sent", "first word ms", "round trips", "seconds", "executing", "wants")
	t.Note("KB are all bytes of the link, of a new run from its connection to its end. First word: from the departure until the device hears what only " +
		"a running guest can have caused, a note of its clock, a request for a file or output; so what the guest did by then is in it.")
	t.Note("A new run is another process of the program on the device, with another connection; the file that changes is the first that the scanner reads but for ten of its own.")
	if err := secondRuns(ctx, o, t, tr, spec); err != nil {
		return []*measure.Table{t}, err
	}
	return []*measure.Table{t}, secondCalls(ctx, o, t, tr, spec)
}

// secondRow adds what one kind of offload took: medians.
func secondRow(t *measure.Table, tr *tree, program, what string, xs []*outcome) {
	median := func(f func(x *outcome) float64) float64 {
		var v []float64
		for _, x := range xs {
			v = append(v, f(x))
		}
		return measure.Median(v)
	}
	word := median(func(x *outcome) float64 { return float64(x.trip.word) })
	trips := any("-")
	if what != first {
		trips = word / float64(far.RTT)
	}
	t.Add(program, what,
		median(func(x *outcome) float64 { return x.up / 1e3 }), median(func(x *outcome) float64 { return x.down / 1e3 }),
		median(func(x *outcome) float64 { return 100 * (x.up + x.down) / float64(tr.bytes) }),
		median(func(x *outcome) float64 { return float64(x.trip.asked) }), word/1e6, trips,
		median(func(x *outcome) float64 { return x.trip.took.Seconds() }), median(func(x *outcome) float64 { return x.trip.exec.Seconds() }),
		median(func(x *outcome) float64 { return float64(x.trip.wants) }))
}

// first, then what later offloads find.
const (
	first     = "first, over loopback"
	unchanged = "nothing changed"
	oneFile   = "one file changed"
)

// secondRuns repeats runs of the virus scanner.
func secondRuns(ctx context.Context, o *options, t *measure.Table, tr *tree, spec treeSpec) error {
	p, err := o.scanner(ctx)
	if err != nil {
		return err
	}
	w, err := o.newWorld(ctx, link.Profile{})
	if err != nil {
		return err
	}
	defer w.close()
	again := func(round int) (*outcome, error) {
		x, err := w.run(ctx, p, tr.dir)
		if err == nil {
			err = tr.check(x.out)
		}
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", round, err)
		}
		return x, nil
	}
	return sequence(o, t, w, tr, spec, "virus scanner, new runs", again)
}

// secondCalls repeats calls of the reader in one process.
func secondCalls(ctx context.Context, o *options, t *measure.Table, tr *tree, spec treeSpec) error {
	w, err := o.newWorld(ctx, link.Profile{})
	if err != nil {
		return err
	}
	defer w.close()
	l, err := w.open(ctx, "scan", tr.dir)
	if err != nil {
		return err
	}
	defer l.close()
	again := func(int) (*outcome, error) {
		want, err := scanned(tr.dir)
		if err != nil {
			return nil, err
		}
		return l.call(ctx, want, "scan")
	}
	return sequence(o, t, w, tr, spec, "reader, one process", again)
}

// sequence is a first offload, and then in turn ones that find the tree as it was and ones that find a file changed.
func sequence(o *options, t *measure.Table, w *world, tr *tree, spec treeSpec, program string, again func(round int) (*outcome, error)) error {
	x, err := again(0)
	if err != nil {
		return err
	}
	secondRow(t, tr, program, first, []*outcome{x})
	w.proxy.SetProfile(far)
	var same, changed []*outcome
	for round := range max(o.rounds/2, 1) {
		if x, err = again(round + 1); err != nil {
			return err
		}
		same = append(same, x)
		if err := tr.change(spec, round); err != nil {
			return err
		}
		if x, err = again(round + 1); err != nil {
			return err
		}
		changed = append(changed, x)
	}
	secondRow(t, tr, program, unchanged, same)
	secondRow(t, tr, program, oneFile, changed)
	return nil
}
