package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/linmem"
)

const captureSize = 1 << 30

// capture finds, arms again and copies out 1 % dirty pages of 1 GiB, in turn with plainly copying the same pages.
func capture(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("capture", "1 % dirty pages of 1 GiB: find, arm again and copy, over copying them",
		"tracker", "pattern", "pages", "find us", "find+copy us", "copy us", "ratio", "ratio low", "ratio high", "p10", "p90", "encode+digest us", "digest us")
	t.Note("All are processor times of one thread, the kernel's included.")
	t.Note("encode+digest: the delta of those pages into nothing, besides; digest: SHA-256 of the pages alone, a part of it.")
	for _, tracker := range []linmem.Tracker{linmem.Userfault, linmem.Compare} {
		for _, p := range []struct {
			name string
			run  uint32
		}{{"single pages", 1}, {"runs of 64", 64}} {
			err := captureOne(ctx, o, t, tracker, p.name, p.run)
			if errors.Is(err, linmem.ErrNoTracker) {
				t.Note("%v does not work here.", tracker)
				continue
			}
			if err != nil {
				return []*measure.Table{t}, err
			}
		}
	}
	return []*measure.Table{t}, nil
}

func captureOne(ctx context.Context, o *options, t *measure.Table, tracker linmem.Tracker, pattern string, run uint32) error {
	m, err := linmem.New(captureSize, captureSize, linmem.Options{Tracker: tracker})
	if err != nil {
		return err
	}
	defer m.Close()
	mem := m.Bytes()
	for at := 0; at < captureSize; at += linmem.PageSize {
		mem[at] = 1
	}
	if err := m.Track(); err != nil {
		return err
	}
	want := somePages(run)
	out := make([]byte, want.Len()*linmem.PageSize)
	copyPages(out, mem, want)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var find, both, plain, encode, digest []float64
	set := &linmem.PageSet{}
	for round := -1; round < 3*o.rounds && ctx.Err() == nil; round++ {
		soil(mem, want)
		begin := measure.ThreadTime()
		set.Clear()
		if err := m.Collect(set); err != nil {
			return err
		}
		found := measure.ThreadTime() - begin
		copyPages(out, mem, set)
		captured := measure.ThreadTime() - begin
		if set.Len() != want.Len() {
			return errors.New("BUG: other pages found than were written")
		}
		soil(mem, want)
		begin = measure.ThreadTime()
		copyPages(out, mem, want)
		copied := measure.ThreadTime() - begin
		if err := m.Forget(); err != nil {
			return err
		}
		begin = measure.ThreadTime()
		h := delta.Header{MemoryBytes: captureSize, Pages: uint32(set.Len())}
		if _, _, err := delta.Encode(io.Discard, h, mem, set.All(), delta.Options{}); err != nil {
			return err
		}
		encoded := measure.ThreadTime() - begin
		begin = measure.ThreadTime()
		sha256.Sum256(out)
		digested := measure.ThreadTime() - begin
		if round < 0 {
			continue
		}
		find = append(find, us(found))
		both = append(both, us(captured))
		plain = append(plain, us(copied))
		encode = append(encode, us(encoded))
		digest = append(digest, us(digested))
	}
	r := measure.Ratios(plain, both)
	b := bootstrap(r)
	lo, hi := spread(r)
	t.Add(tracker.String(), pattern, want.Len(), measure.Median(find), measure.Median(both), measure.Median(plain), b.mid, b.lo, b.hi, lo, hi, measure.Median(encode), measure.Median(digest))
	return nil
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// somePages picks 1 % of the pages, in runs.
func somePages(run uint32) *linmem.PageSet {
	set := &linmem.PageSet{}
	r := rand.New(rand.NewPCG(1, 2))
	for set.Len() < captureSize/linmem.PageSize/100 {
		p := r.Uint32N(captureSize/linmem.PageSize-run) / run * run
		set.AddRange(p, p+run)
	}
	return set
}

func soil(mem []byte, set *linmem.PageSet) {
	for p := range set.All() {
		mem[uint64(p)*linmem.PageSize+100]++
	}
}

func copyPages(dst, src []byte, set *linmem.PageSet) {
	for p := range set.All() {
		n := copy(dst, src[uint64(p)*linmem.PageSize:][:linmem.PageSize])
		dst = dst[n:]
	}
}
