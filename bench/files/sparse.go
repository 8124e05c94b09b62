package main

import (
	"context"
	"fmt"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/link"
)

// onePercent of the files are read, at random.
const onePercent = 10

// sparse measures what moves when a program reads little of a tree of which the node has nothing.
func sparse(ctx context.Context, o *options) ([]*measure.Table, error) {
	tr, err := o.tree(ctx, o.scaled(1))
	if err != nil {
		return nil, err
	}
	t := table("sparse", fmt.Sprintf("a program that lists %d files, %.0f MB, and reads one in a hundred, at random; the node has none of them", tr.files, float64(tr.bytes)/1e6),
		"link", "rounds", "files read", "MB read", "MB of files sent", "sent/read", "greatest", "KB on the link", "link/read", "% of the tree", "wants", "seconds")
	t.Note("Sent are files and directories as they are, before compression; on the link are all bytes both ways from call to return, the process's state included.")
	names := o.links
	if len(names) == 0 {
		names = []string{"lan", "5g", "lte"}
	}
	for _, name := range names {
		p, err := link.LookupProfile(name)
		if err != nil {
			return []*measure.Table{t}, err
		}
		if err := sparseOne(ctx, o, t, tr, p); err != nil {
			return []*measure.Table{t}, fmt.Errorf("over %s: %w", name, err)
		}
	}
	return []*measure.Table{t}, nil
}

func sparseOne(ctx context.Context, o *options, t *measure.Table, tr *tree, p link.Profile) error {
	var files, read, sent, over, moved, net, share, wants, seconds []float64
	for round := range o.rounds {
		seed := o.seed + uint64(round)
		want, err := sampled(tr.dir, seed, onePercent)
		if err != nil {
			return err
		}
		x, err := o.sparseCall(ctx, tr, p, want, seed)
		if err != nil {
			return err
		}
		given, all := 0.0, x.up+x.down
		for _, f := range x.report.Functions {
			given += float64(f.FilesUp)
		}
		n := float64(want.bytes)
		files, read, sent, over = append(files, float64(want.files)), append(read, n/1e6), append(sent, given/1e6), append(over, given/n)
		moved, net, share = append(moved, all/1e3), append(net, all/n), append(share, 100*all/float64(tr.bytes))
		wants, seconds = append(wants, float64(x.trip.wants)), append(seconds, x.trip.took.Seconds())
	}
	t.Add(p.Name, o.rounds, measure.Median(files), measure.Median(read), measure.Median(sent), measure.Median(over), measure.Quantile(over, 1),
		measure.Median(moved), measure.Median(net), measure.Median(share), measure.Median(wants), measure.Median(seconds))
	return nil
}

// sparseCall calls the reader once, in a world of its own.
func (o *options) sparseCall(ctx context.Context, tr *tree, p link.Profile, want digested, seed uint64) (*outcome, error) {
	w, err := o.newWorld(ctx, p)
	if err != nil {
		return nil, err
	}
	defer w.close()
	l, err := w.open(ctx, "sample", tr.dir)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.call(ctx, want, "sample", seed, onePercent)
}
