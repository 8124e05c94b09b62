package faultproxy

import (
	"syscall"
	"time"
)

// nap waits for a short time. The runtime's timers wake an idle process to the millisecond, because epoll counts so;
// the kernel is asked instead, which is some 50 us late.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil) // one that a signal ends early is begun again by the caller
}
