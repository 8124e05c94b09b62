//go:build !linux

package measure

import "time"

var began = time.Now()

// ThreadTime is wall time where a thread's own is not at hand.
func ThreadTime() time.Duration { return time.Since(began) }
