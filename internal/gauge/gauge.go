// Package gauge measures how fast this machine is, in one number that can be compared between machines: rough, since
// programs differ, and cheap, since it is taken at a start.
package gauge

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// rounds make one measurement take about half a millisecond on a fast machine.
const rounds = 200_000

// Speed returns the machine's speed: rounds of a loop of integer work, with a small table, in a second. The best of a
// few short measurements counts, so that other work disturbs it little. It takes some milliseconds.
func Speed() float64 {
	best := time.Duration(1<<63 - 1)
	x := sink.Load()
	for range 5 {
		begin := time.Now()
		x = work(x)
		best = min(best, time.Since(begin))
	}
	sink.Store(x)
	return rounds / max(best, time.Microsecond).Seconds()
}

// sink keeps the work from being left out as useless.
var sink atomic.Uint64

func work(x uint64) uint64 {
	var table [256]uint64
	for i := range table {
		table[i] = uint64(i) * 0x9e3779b97f4a7c15
	}
	for i := range uint64(rounds) {
		x = bits.RotateLeft64(x^table[byte(x>>7)], 13)*5 + i
		table[byte(i)] += x
	}
	return x
}
