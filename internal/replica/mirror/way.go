package mirror

import "time"

// way knows how much may be on the way from the device at once: enough to fill it, and little enough for something
// that is needed at once to come soon. It is a state machine without a clock; all bytes are estimates until they land.
type way struct {
	flying int           // bytes asked for that have not come
	rate   float64       // bytes per second
	least  time.Duration // the quickest answer
	landed int           // bytes since mark
	mark   time.Time
}

// Bounds of what is on the way.
const (
	wayLeast = 256 << 10
	wayMost  = 32 << 20
	wayLook  = 20 * time.Millisecond
)

func (w *way) send(n int) { w.flying += n }

// limit is how many bytes may be on the way.
func (w *way) limit() int {
	return int(min(wayLeast+2*w.rate*w.least.Seconds(), wayMost))
}

func (w *way) room() bool { return w.flying < w.limit() }

// land takes in that n bytes, as send was told, came as got, so long after they were asked for; took 0: they were not
// asked for by themselves.
func (w *way) land(now time.Time, n, got int, took time.Duration) {
	w.flying = max(w.flying-n, 0)
	if took > 0 && (w.least == 0 || took < w.least) {
		w.least = took
	}
	if w.landed == 0 && w.mark.IsZero() {
		w.mark = now.Add(-took)
	}
	w.landed += got
	if d := now.Sub(w.mark); d >= wayLook {
		// The highest of late: a pause of the guest is no slowness of the link.
		r := float64(w.landed) / d.Seconds()
		w.rate = max(r, w.rate-w.rate/8)
		w.landed, w.mark = 0, now
	}
}
