//go:build linux || darwin

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollable says that the system can tell whether a read of a file would block.
const pollable = true

// waitFile waits until f can be read (or written) without blocking, at most ms milliseconds (-1: for ever).
func waitFile(ctx context.Context, f *os.File, write bool, ms int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	if err := raw.Control(func(fd uintptr) { waitErr = waitFD(ctx, int(fd), write, ms) }); err != nil {
		return err
	}
	return waitErr
}

func waitFD(ctx context.Context, fd int, write bool, ms int) error {
	events := int16(unix.POLLIN)
	if write {
		events = unix.POLLOUT
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	// Most of the time there is something, and no need for a way to be woken.
	if n, err := pollFDs(fds, 0); err != nil || n > 0 || ms == 0 {
		return pollResult(n, err)
	}
	if ctx.Done() != nil {
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			return fmt.Errorf("make wake-up pipe: %w", err)
		}
		done := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(done)
			_, _ = unix.Write(p[1], []byte{0})
		})
		defer func() {
			if !stop() {
				<-done
			}
			_ = unix.Close(p[0])
			_ = unix.Close(p[1])
		}()
		fds = append(fds, unix.PollFd{Fd: int32(p[0]), Events: unix.POLLIN})
	}
	n, err := pollFDs(fds, ms)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return pollResult(n, err)
}

func pollResult(n int, err error) error {
	if err == nil && n == 0 {
		return errNotReady
	}
	return err
}

// pollFDs goes on after a signal with the time that is left.
func pollFDs(fds []unix.PollFd, ms int) (int, error) {
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for {
		n, err := unix.Poll(fds, ms)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
		if ms > 0 {
			ms = max(int(time.Until(end)/time.Millisecond), 0)
		}
	}
}
