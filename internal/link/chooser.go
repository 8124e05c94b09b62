package link

import (
	"math"
	"time"
)

// chooser decides how records are compressed. It is a state machine: what it knows of time it is told.
//
// It takes the codec with the least expected time for a raw byte: to compress it, to carry what is left of it, and to
// decompress it. What codecs make of the data it learns from the records themselves, so that others than the best
// must be tried now and then, since data change. What trying is expected to lose is paid from a budget, a small share
// of all time: on a slow link, where a wrong codec is dear and processors wait, trying is frequent, on a fast one rare.
type chooser struct {
	codecs [numCodecs]estimate
	rate   float64 // bytes a second on the wire; 0: unknown
	rtt    time.Duration

	budget float64 // seconds that trying may lose
	since  int     // records since the last try
	turn   codec   // tried last

	raw, wire float64 // bytes since the rate was last told
	ratio     float64 // of wire to raw bytes in that time
}

const (
	minCoded  = 256       // shorter records are not worth the time
	maxRatio  = 0.95      // what stays longer counts as incompressible
	fade      = 256 << 10 // bytes after which half of what was learned is forgotten
	unpacking = 1.0 / 3   // time to decompress, in times to compress
	tryShare  = 1.0 / 64  // of all time, spent on trying codecs
	tryGap    = 16        // records between tries
	tryDepth  = 16        // budget that is kept, in records: what would lose more is hopeless
	outlier   = 4         // times longer than expected: no more is believed, most was spent waiting for a processor
	nearby    = time.Millisecond
	farRate   = 10_000_000 // assumed while the rate is unknown on a link that is not nearby
)

// estimate is what is known of a codec: sums that fade.
type estimate struct{ raw, coded, seconds float64 }

func newChooser() chooser {
	c := chooser{ratio: 1}
	// Guesses that the first records correct; rather too good, so that each codec is tried.
	c.codecs[codecS2] = estimate{raw: fade / 8, coded: fade / 16, seconds: fade / 8 / 1e9}
	c.codecs[codecZstd] = estimate{raw: fade / 8, coded: fade / 20, seconds: fade / 8 / 250e6}
	return c
}

// cost is the expected time for a raw byte.
func (e *estimate) cost(rate float64) float64 {
	return (e.seconds*(1+unpacking) + min(e.coded, e.raw)/rate) / e.raw
}

// setRate tells how many bytes of frames arrive in a second (0: unknown), and the time of a round trip.
func (c *chooser) setRate(frames float64, rtt time.Duration) {
	if c.raw > 0 {
		c.ratio = c.wire / c.raw
		c.raw, c.wire = 0, 0
	}
	if frames <= 0 || math.IsNaN(frames) || math.IsInf(frames, 0) {
		frames = 0
	}
	c.rate, c.rtt = frames*c.ratio, rtt
}

// choose returns the codec for a record.
func (c *chooser) choose(raw int) codec {
	rate, last := c.rate, codecZstd
	if rate <= 0 {
		if c.rtt < nearby {
			return codecNone
		}
		rate, last = farRate, codecS2
	}
	if raw < minCoded {
		return codecNone
	}
	best, least := codecNone, 1/rate
	for k := codecS2; k <= last; k++ {
		e := &c.codecs[k]
		if e.coded > maxRatio*e.raw {
			continue
		}
		// While the rate is a guess, nothing is weighed against it.
		if cost := e.cost(rate); cost < least || c.rate <= 0 {
			best, least = k, cost
		}
	}
	n := float64(raw)
	c.budget = min(c.budget+least*n*tryShare, least*n*tryDepth)
	c.since++
	if c.since < tryGap {
		return best
	}
	for range last {
		c.turn = c.turn%last + 1
		if c.turn == best {
			continue
		}
		if loss := max(0, c.codecs[c.turn].cost(rate)-least) * n; loss <= c.budget {
			c.budget -= loss
			c.since = 0
			return c.turn
		}
	}
	return best
}

// learn takes what a codec made of a record.
func (c *chooser) learn(k codec, raw, coded int, took time.Duration) {
	e := &c.codecs[k]
	seconds := max(took, time.Nanosecond).Seconds()
	seconds = min(seconds, outlier*float64(raw)*e.seconds/e.raw)
	keep := fade / (fade + float64(raw)) // of a long record more is learned than of a short one
	e.raw = e.raw*keep + float64(raw)
	e.coded = e.coded*keep + float64(coded)
	e.seconds = e.seconds*keep + seconds
}

// sent counts a record as it went out.
func (c *chooser) sent(raw, wire int) {
	c.raw += float64(raw)
	c.wire += float64(wire)
}
