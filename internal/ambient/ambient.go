// Package ambient tells whether it is a good time for work that can wait: whether the machine is idle, has power, and a
// network that costs nothing. It is full on Linux. What a system does not tell counts as good: elsewhere all of it.
package ambient

import (
	"math"
	"runtime"
	"time"
)

// State is what is known of the machine.
type State struct {
	Load    float64 // processes that run or want to, without our own, over the last minute; 0: none, or not known
	CPUs    int
	Battery bool // it runs on a battery that nothing charges
	Metered bool // the network probably costs by the byte
}

// Allow says what is put up with.
type Allow struct{ Busy, Battery, Metered bool }

// busyShare is the share of the processors that others may use on a machine that is idle.
const busyShare = 0.5

// Against gives the reason why now is no good time, "" if it is one.
func (s State) Against(a Allow) string {
	switch {
	case s.Battery && !a.Battery:
		return "the device runs on its battery"
	case s.Metered && !a.Metered:
		return "the network is metered"
	case s.Load > busyShare*float64(max(s.CPUs, 1)) && !a.Busy:
		return "the device is busy"
	}
	return ""
}

// own reckons what a process adds to the system's load, which is a mean that forgets within a minute.
type own struct {
	at    time.Time
	cpu   time.Duration // that the process has used
	level float64
}

// loadMinute is the time in which the system's load forgets.
const loadMinute = time.Minute

func (o *own) add(now time.Time, cpu time.Duration) float64 {
	if d := now.Sub(o.at); !o.at.IsZero() && d > 0 {
		rate := max(float64(cpu-o.cpu)/float64(d), 0)
		o.level += (rate - o.level) * (1 - math.Exp(-d.Seconds()/loadMinute.Seconds()))
	}
	o.at, o.cpu = now, cpu
	return o.level
}

// Watch looks at the machine. The zero value is ready. Not for several goroutines at once.
type Watch struct{ own own }

// Now returns the state at a time.
func (w *Watch) Now(now time.Time) State {
	s := look()
	s.CPUs = runtime.NumCPU()
	s.Load = max(s.Load-w.own.add(now, used()), 0)
	return s
}
