package device

import (
	"cmp"
	"math/bits"
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// Known is what a device knows of a cloud from earlier runs.
type Known struct {
	Engine, Arch string  // the engine that it prefers
	Speed        float64 // of its machine, see package gauge; 0: not known
	// Warm says that the program's code is in place there: the first offload need not wait for an answer.
	Warm bool
	// Rate is in bytes per second, 0 if it was not measured.
	Rate float64
	// RTT is a round trip, 0 if it was not measured.
	RTT time.Duration
	// Rates are the rates on the networks that were used, by NetworkClass of their round trips.
	Rates map[int]float64
}

// NetworkClass tells networks apart by what a round trip takes, roughly: by its order of magnitude.
func NetworkClass(rtt time.Duration) int {
	return bits.Len64(uint64(max(rtt, 0) / (100 * time.Microsecond)))
}

// learn keeps what the next run may want to know.
func (c *Cloud) learn(w *wire.Welcome, rtt time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.Known; k != nil && k.RTT > 0 && rtt > 0 && NetworkClass(k.RTT) != NetworkClass(rtt) {
		c.rate = k.Rates[NetworkClass(rtt)] // the device has moved to another network
	}
	c.learned = &Known{Engine: preferred(w), Arch: w.Arch, Speed: w.Speed, Warm: true, RTT: rtt}
}

// preferred is the engine that a node prefers.
func preferred(w *wire.Welcome) string { return cmp.Or(w.Preferred, w.Engine) }

// Learned is what a later run with this program may know of the cloud, nil if no conversation came about.
func (c *Cloud) Learned() *Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.learned == nil {
		return nil
	}
	k := *c.learned
	k.Rate = c.rate
	k.Warm = k.Warm && c.err == nil
	return &k
}

// Ready is how long a later run should expect a clone to take until it is ready, 0 if nothing is known: as long as the
// first one took; or if there was none (vain), twice the time that there was for it.
func (c *Cloud) Ready() (d time.Duration, vain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == 0 {
		had := time.Since(c.begun) - c.Delay
		return max(2*had, 0), had > 0
	}
	return c.first, false
}

// measured takes a transfer into the estimate of the rate.
func (c *Cloud) measured(bytes uint64, took time.Duration) {
	if bytes < 64<<10 || took <= 0 {
		return
	}
	c.measuredRate(float64(bytes) / took.Seconds())
}

func (c *Cloud) measuredRate(r float64) {
	if r <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rate == 0 {
		c.rate = r
		return
	}
	c.rate += (r - c.rate) / 4
}

// recalled is what is known of the link, by this run or an earlier one: bytes per second and a round trip, each 0 if it
// is not.
func (c *Cloud) recalled() (rate float64, rtt time.Duration) {
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.learned != nil:
		rtt = c.learned.RTT
	case c.Known != nil:
		rtt = c.Known.RTT
	}
	return c.rate, rtt
}

// Rate is how many bytes of frames a second reach the cloud, 0 if that was not measured.
func (c *Cloud) Rate() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rate
}
