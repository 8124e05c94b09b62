package wire

import "fmt"

// CreditSender is the clone's side of the credit of one attempt.
type CreditSender struct{ limit, sent uint64 }

// Grant notes a Credit; the limit never falls.
func (c *CreditSender) Grant(limit uint64) { c.limit = max(c.limit, limit) }

// Take claims up to want bytes of Output and returns how many may be sent now; 0: wait for a Credit.
func (c *CreditSender) Take(want int) int {
	if want <= 0 {
		return 0
	}
	n := int(min(uint64(want), c.limit-c.sent))
	c.sent += uint64(n)
	return n
}

// CreditReceiver is the device's side: Window bytes may be on the way or waiting to be written.
type CreditReceiver struct {
	Window                      uint64 // at least 1
	received, consumed, granted uint64
}

// Initial returns the first limit to grant.
func (c *CreditReceiver) Initial() uint64 {
	c.granted = c.consumed + c.Window
	return c.granted
}

// Receive counts n bytes of Output that came in. Output beyond the limit is ErrProtocol.
func (c *CreditReceiver) Receive(n int) error {
	if uint64(n) > c.granted-c.received {
		return fmt.Errorf("receive output of %d bytes with credit for %d: %w", n, c.granted-c.received, ErrProtocol)
	}
	c.received += uint64(n)
	return nil
}

// Consume counts n bytes as written, and returns the limit to grant when it is worth a Credit: once half the window is
// used up.
func (c *CreditReceiver) Consume(n int) (limit uint64, grant bool) {
	c.consumed = min(c.consumed+uint64(n), c.received)
	if next := c.consumed + c.Window; next-c.granted >= (c.Window+1)/2 {
		c.granted = next
		return next, true
	}
	return c.granted, false
}
