package link

import (
	"fmt"
	"net"
	"time"
)

// notSent is how much may wait in a socket without being on its way. What waits beyond that stays with the sender,
// where a small frame can overtake it.
const notSent = 128 << 10

// userTimeout is how long sent bytes may go unacknowledged.
const userTimeout = 60 * time.Second

// Tune sets a connection up for a Stream: small frames leave at once, a bulk transfer's backlog stays out of the
// socket where the system can do that, and a peer that has vanished is noticed.
func Tune(conn *net.TCPConn) error {
	if err := conn.SetNoDelay(true); err != nil {
		return fmt.Errorf("tune connection: %w", err)
	}
	err := conn.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 6,
	})
	if err != nil {
		return fmt.Errorf("tune connection: %w", err)
	}
	if err := tune(conn); err != nil {
		return fmt.Errorf("tune connection: %w", err)
	}
	return nil
}
