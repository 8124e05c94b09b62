package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/link"
)

// near is the network between a device and a node in the same region.
var near = link.Profile{Name: "near", RTT: 20 * time.Millisecond}

// warm measures scans of a tree that the node has all of.
func warm(ctx context.Context, o *options) ([]*measure.Table, error) {
	tr, err := o.tree(ctx, o.scaled(1))
	if err != nil {
		return nil, err
	}
	t := table("warm", fmt.Sprintf("scanning %d files, %.0f MB, that the node has, over a link of %v, over scanning a copy on its disk without a clone; the same engine",
		tr.files, float64(tr.bytes)/1e6, near.RTT), "what", "rounds", "clone s", "copy s", "clone/copy", "low", "high")
	t.Note("The guest: of the offload, from its departure to its end, over that of the same program without a cloud from its first instruction to its last. " +
		"The run: all of it, start and connection included.")
	p, err := o.scanner(ctx)
	if err != nil {
		return nil, err
	}
	disk := filepath.Join(o.scratch, "copy")
	defer os.RemoveAll(disk)
	if err := os.CopyFS(disk, os.DirFS(tr.dir)); err != nil {
		return nil, err
	}
	w, err := o.newWorld(ctx, near)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return []*measure.Table{t}, warmRounds(ctx, o, t, w, p, tr, disk)
}

func warmRounds(ctx context.Context, o *options, t *measure.Table, w *world, p *program, tr *tree, disk string) error {
	var guest, run [2][]float64
	wants := 0
	for round := -1; round < o.rounds; round++ {
		var out [2]string
		onClone := func() error {
			x, err := w.run(ctx, p, tr.dir)
			if err != nil {
				return err
			}
			if out[1] = x.out; round >= 0 { // the first brings the files there
				guest[1], run[1] = append(guest[1], x.trip.took.Seconds()), append(run[1], x.seconds)
				wants += x.trip.wants
			}
			return tr.check(x.out)
		}
		onDisk := func() error {
			x, err := execute(ctx, p, o.config(p, disk))
			if err != nil {
				return err
			}
			if out[0] = x.out; round >= 0 {
				guest[0], run[0] = append(guest[0], (x.report.Wall-x.report.Start).Seconds()), append(run[0], x.seconds)
			}
			return nil
		}
		if err := inTurn(ctx, round+1, onDisk, onClone); err != nil {
			return err
		}
		if out[0] != out[1] {
			return errors.New("the scan of the copy has another output")
		}
	}
	for _, x := range []struct {
		what string
		v    [2][]float64
	}{{"guest", guest}, {"run", run}} {
		b := measure.Bootstrap(measure.Ratios(x.v[0], x.v[1]))
		t.Add(x.what, o.rounds, measure.Median(x.v[1]), measure.Median(x.v[0]), b.Mid, b.Low, b.High)
	}
	t.Note("The clones asked the device for files %d times in %d rounds.", wants, o.rounds)
	return nil
}
