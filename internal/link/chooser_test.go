package link

import (
	"math"
	"testing"
	"time"
)

// data is what codecs make of some data.
type data struct{ s2, zstd, s2Speed, zstdSpeed float64 }

var (
	text  = data{0.5, 0.35, 800e6, 200e6}
	noise = data{1, 1, 3e9, 600e6}
	dense = data{1, 0.75, 2e9, 150e6} // only entropy coding shortens it
	small = data{0.1, 0.02, 1.5e9, 600e6}
)

// drive sends records of raw bytes and counts how.
func (c *chooser) drive(d data, records, raw int) (n [numCodecs]int) {
	for range records {
		k := c.choose(raw)
		n[k]++
		wire := raw
		ratio, speed := d.s2, d.s2Speed
		if k == codecZstd {
			ratio, speed = d.zstd, d.zstdSpeed
		}
		if k != codecNone {
			wire = int(float64(raw) * ratio)
			c.learn(k, raw, wire, time.Duration(float64(raw)/speed*1e9))
		}
		c.sent(raw, wire)
	}
	return n
}

func TestChooser(t *testing.T) {
	const far = 20 * time.Millisecond
	for _, tc := range []struct {
		name string
		rate float64
		rtt  time.Duration
		data data
		raw  int
		want codec
		most int // of 1,000 records, how many may go another way
	}{
		{"unknown", 0, 0, text, 64 << 10, codecNone, 0},
		{"unknown nearby", 0, 900 * time.Microsecond, text, 64 << 10, codecNone, 0},
		{"unknown far", 0, far, text, 64 << 10, codecS2, 0},
		{"unknown far noise", 0, far, noise, 64 << 10, codecNone, 70},
		{"short", 1e5, far, text, minCoded - 1, codecNone, 0},
		{"loopback", 5e9, 0, text, 64 << 10, codecNone, 20},
		{"gigabit", 110e6, 0, text, 64 << 10, codecS2, 40},
		{"gigabit noise", 110e6, 0, noise, 64 << 10, codecNone, 70},
		{"lte", 1.25e6, far, text, 64 << 10, codecZstd, 40},
		{"3g", 50e3, far, text, 64 << 10, codecZstd, 40},
		{"3g small records", 50e3, far, text, 400, codecZstd, 40},
		{"3g noise", 50e3, far, noise, 64 << 10, codecNone, 70},
		{"3g dense", 50e3, far, dense, 64 << 10, codecZstd, 70},
		{"5g zeros", 12.5e6, far, small, 64 << 10, codecZstd, 70},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newChooser()
			c.setRate(tc.rate, tc.rtt)
			c.drive(tc.data, 100, tc.raw)
			n := c.drive(tc.data, 1000, tc.raw)
			if got := 1000 - n[tc.want]; got > tc.most {
				t.Errorf("none, S2, zstd: %v; want codec %d for all but %d", n, tc.want, tc.most)
			}
		})
	}
}

// TestChooserFollows: data and rates change.
func TestChooserFollows(t *testing.T) {
	c := newChooser()
	for i, tc := range []struct {
		rate float64
		data data
		want codec
	}{
		{1e6, text, codecZstd}, {1e6, noise, codecNone}, {1e6, text, codecZstd}, {5e9, text, codecNone}, {100e6, text, codecS2},
		{100e6, noise, codecNone}, {100e6, text, codecS2}, {1e5, dense, codecZstd}, {1e5, noise, codecNone}, {0, text, codecS2},
	} {
		// The rate that frames see.
		c.setRate(0, 20*time.Millisecond)
		c.ratio = 1
		c.setRate(tc.rate, 20*time.Millisecond)
		c.drive(tc.data, 300, 64<<10)
		if n := c.drive(tc.data, 200, 64<<10); n[tc.want] < 180 {
			t.Errorf("step %d: none, S2, zstd: %v; want codec %d", i, n, tc.want)
		}
	}
}

// TestChooserTries: what trying loses stays a small share.
func TestChooserTries(t *testing.T) {
	for _, rate := range []float64{1e5, 1e6, 1e7, 1e8, 1e9, 1e10} {
		c := newChooser()
		c.setRate(rate, time.Second)
		c.drive(noise, 100, 64<<10)
		n := c.drive(noise, 10_000, 64<<10)
		lost := float64(n[codecS2])/noise.s2Speed + float64(n[codecZstd])/noise.zstdSpeed
		if share := lost / (10_000 / rate); share > 1.0/64 {
			t.Errorf("rate %g: tries %v lose %.3f of the time", rate, n, share)
		}
	}
}

// TestChooserRate: the rate of frames is turned into one of the wire.
func TestChooserRate(t *testing.T) {
	c := newChooser()
	for _, tc := range []struct {
		raw, wire    int
		frames, want float64
	}{
		{0, 0, 1e6, 1e6}, {1000, 250, 1e6, 250e3}, {0, 0, 2e6, 500e3}, {1000, 1004, 1e6, 1.004e6},
		{1000, 500, math.NaN(), 0}, {1000, 500, math.Inf(1), 0}, {1000, 500, -1, 0},
	} {
		c.sent(tc.raw, tc.wire)
		c.setRate(tc.frames, 0)
		if math.Abs(c.rate-tc.want) > 1 {
			t.Errorf("%+v: got %g", tc, c.rate)
		}
	}
}

// TestChooserGuess: while the rate is a guess, a processor that was slow for a while is no reason.
func TestChooserGuess(t *testing.T) {
	c := newChooser()
	c.setRate(0, time.Second)
	slow := data{0.5, 0.4, 1e6, 1e5}
	if n := c.drive(slow, 100, 64<<10); n[codecS2] != 100 {
		t.Errorf("none, S2, zstd: %v; want S2", n)
	}
}

// TestChooserOutlier: one record that took long changes nothing, many do.
func TestChooserOutlier(t *testing.T) {
	c := newChooser()
	c.setRate(1e6, time.Second)
	c.drive(text, 100, 64<<10)
	c.learn(codecZstd, 64<<10, 20<<10, time.Minute)
	if n := c.drive(text, 10, 64<<10); n[codecZstd] < 9 {
		t.Errorf("after one: none, S2, zstd: %v; want zstd", n)
	}
	slow := data{0.5, 0.35, 50e6, 0.5e6}
	c.drive(slow, 100, 64<<10)
	if n := c.drive(slow, 100, 64<<10); n[codecS2] < 90 {
		t.Errorf("after many: none, S2, zstd: %v; want S2", n)
	}
}
