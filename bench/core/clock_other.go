//go:build !linux

package main

import "time"

var began = time.Now()

// cpuClock is wall time where a thread's own is not at hand.
func cpuClock() time.Duration { return time.Since(began) }
