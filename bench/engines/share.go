package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// share is the memory of a process in bytes, where pages that it has in common with others count in part: its PSS. It is
// told on Linux.
func share(pid string) (float64, error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
	if err != nil {
		return 0, err
	}
	return parseShare(string(b))
}

func parseShare(rollup string) (float64, error) {
	for line := range strings.Lines(rollup) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "Pss:" {
			continue
		}
		kib, err := strconv.ParseUint(f[1], 10, 48)
		if err != nil || f[2] != "kB" {
			return 0, fmt.Errorf("share of memory is %q", strings.TrimSpace(line))
		}
		return float64(kib) * 1024, nil
	}
	return 0, errors.New("share of memory is not told")
}

// shares are the memories of processes, in bytes, by their ids.
type shares map[string]float64

// ownShare is that of this process.
func ownShare() (shares, error) {
	debug.FreeOSMemory() // collects, too
	v, err := share("self")
	return shares{"self": v}, err
}

// childrenShares are those of this process's children.
func childrenShares() (shares, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	all := shares{}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(b)) {
			if v, err := share(pid); err == nil { // else it has ended
				all[pid] = v
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no child of this process tells its memory")
	}
	return all, nil
}

// since is how much memory has been added to processes that were there before.
func (s shares) since(before shares) (added float64) {
	for pid, v := range s {
		if was, ok := before[pid]; ok {
			added += v - was
		}
	}
	return added
}

// settled reads until memory stops changing, for half a minute at most: a worker returns what it does not need any more
// a while after.
func settled(ctx context.Context, read func() (shares, error)) (shares, error) {
	last, err := read()
	for range 60 {
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var now shares
		if now, err = read(); err == nil && len(now) == len(last) && math.Abs(now.since(last)) < 32<<10 {
			return now, nil
		}
		last = now
	}
	return last, err
}
