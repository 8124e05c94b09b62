package push

import (
	"context"
	"time"
)

// System is the system's clock.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (System) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bucket spreads bytes over time: it fills by rate in a second, up to what a second brings, and may go below empty by one
// taking, which the next has to wait for.
type bucket struct {
	rate  float64 // 0: there is no bound
	clock Clock
	level float64
	at    time.Time
}

// take waits until n bytes may be sent.
func (b *bucket) take(ctx context.Context, n int) error {
	if b.rate <= 0 {
		return nil
	}
	b.fill()
	for b.level < 0 {
		if err := b.clock.Sleep(ctx, max(time.Duration(-b.level/b.rate*float64(time.Second)), time.Millisecond)); err != nil {
			return err
		}
		b.fill()
	}
	b.level -= float64(n)
	return nil
}

func (b *bucket) fill() {
	now := b.clock.Now()
	if !b.at.IsZero() {
		b.level = min(b.level+max(now.Sub(b.at).Seconds(), 0)*b.rate, b.rate)
	}
	b.at = now
}
