//go:build unix

package node

import "golang.org/x/sys/unix"

// fileLimit is how many descriptors this process may have; 0: unknown. (Go has raised it to what is allowed.)
func fileLimit() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return uint64(r.Cur)
}
