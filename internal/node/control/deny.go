package control

import (
	"slices"
	"time"
)

// Bounds of the list of denied modules.
const (
	DenyFor  = time.Hour
	denyMost = 1024
	DenyText = 200
)

// Denied is a module that no worker takes, until a time, and why.
type Denied struct {
	Module ModuleID  `json:"module"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// DenyList remembers modules that had to be stopped by ending their worker. It reads no clock.
type DenyList struct{ list []Denied } // in the order of Until

// Add remembers a module; the oldest are forgotten when there are too many.
func (l *DenyList) Add(d Denied) {
	d.Reason = d.Reason[:min(len(d.Reason), DenyText)]
	l.list = slices.DeleteFunc(l.list, func(o Denied) bool { return o.Module == d.Module })
	if len(l.list) >= denyMost {
		l.list = slices.Delete(l.list, 0, len(l.list)-denyMost+1)
	}
	l.list = append(l.list, d)
}

// Current returns what is still denied.
func (l *DenyList) Current(now time.Time) []Denied {
	l.list = slices.DeleteFunc(l.list, func(d Denied) bool { return !now.Before(d.Until) })
	return slices.Clone(l.list)
}

// Reason is why a module is denied, "" if it is not.
func (l *DenyList) Reason(m ModuleID, now time.Time) string {
	for _, d := range l.list {
		if d.Module == m && now.Before(d.Until) {
			return d.Reason
		}
	}
	return ""
}
