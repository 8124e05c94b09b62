package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Pages of the program whose state is captured: of its block, and how many places in it are written each time. A place is
// as long as a page, and lies on two.
const (
	blockPages = 8192 // 32 MiB
	places     = blockPages / 200
)

// capture measures what it takes to capture a process of which the guest has written 1 % of the pages, here and there.
func capture(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("capture", fmt.Sprintf("a process of %d MiB of which the guest has written 1 %%, here and there; the processor's time", blockPages*linmem.PageSize>>20),
		"engine", "pages", "writing us", "find us", "state us", "encode+digest us", "in all us", "copy us", "over copy")
	t.Note("writing: in the guest, with the faults that writes to protected pages cost. copy: of the same pages. %d rounds.", 4*o.rounds)
	for _, kind := range o.kinds {
		if err := captureOne(ctx, o, t, kind); err != nil {
			return []*measure.Table{t}, fmt.Errorf("%s: %w", kind, err)
		}
	}
	return []*measure.Table{t}, nil
}

func captureOne(ctx context.Context, o *options, t *measure.Table, kind string) error {
	eng, err := engines.New(kind, "")
	if err != nil {
		return err
	}
	defer eng.Close(ctx)
	prog, err := prepare(ctx, eng, programs.Wasm("calls"), cloned)
	if err != nil {
		return err
	}
	defer prog.Close(ctx)
	proc, err := prog.Start(ctx, migrate.Linkage{WASI: &wasi.Process{State: wasi.NewState([]string{"calls"}, nil, [32]byte{1})}})
	if err != nil {
		return err
	}
	defer proc.Inst.Close(ctx)
	soil := proc.Inst.Func("soil")
	if soil == nil {
		return errors.New("there is no function soil")
	}
	set := &linmem.PageSet{}
	if err := soil.Call(ctx, []uint64{0, blockPages}); err != nil {
		return err
	}
	if err := proc.Mem.Collect(set); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var write, find, state, encode, all, plainly, ratio []float64
	out := make([]byte, blockPages*linmem.PageSize)
	clear(out)
	pages := 0
	base := migrate.InitialID(prog.ID)
	for round := -1; round < 4*o.rounds; round++ {
		runtime.GC()
		begin := measure.ThreadTime()
		for i := range uint64(places) {
			if err := soil.Call(ctx, []uint64{i*200 + uint64(round+1)%200, 1}); err != nil {
				return err
			}
		}
		written := measure.ThreadTime()
		set.Clear()
		if err := proc.Mem.Collect(set); err != nil {
			return err
		}
		found := measure.ThreadTime()
		img, err := proc.Capture(ctx, base)
		if err != nil {
			return err
		}
		captured := measure.ThreadTime()
		_, _, err = migrate.SendPages(proc, migrate.Attempt{Offload: 1, Number: 1}, img, set, delta.Options{}, func(wire.Message) error { return nil })
		if err != nil {
			return err
		}
		encoded := measure.ThreadTime()
		at := 0
		for p := range set.All() {
			at += copy(out[at:], proc.Mem.Bytes()[uint64(p)*linmem.PageSize:][:linmem.PageSize])
		}
		copied := measure.ThreadTime()
		if pages = set.Len(); pages < places || pages > 2*places+16 { // the stack's besides
			return fmt.Errorf("%d pages were found, %d places were written", pages, places)
		}
		if round < 0 {
			continue
		}
		us := func(to, from int64) float64 { return float64(to-from) / 1e3 }
		write = append(write, us(int64(written), int64(begin)))
		find = append(find, us(int64(found), int64(written)))
		state = append(state, us(int64(captured), int64(found)))
		encode = append(encode, us(int64(encoded), int64(captured)))
		all = append(all, us(int64(encoded), int64(written)))
		plainly = append(plainly, us(int64(copied), int64(encoded)))
		ratio = append(ratio, float64(encoded-written)/float64(copied-encoded))
	}
	t.Add(kind, pages, measure.Median(write), measure.Median(find), measure.Median(state), measure.Median(encode), measure.Median(all), measure.Median(plainly), measure.Median(ratio))
	return nil
}
