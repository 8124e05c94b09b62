package link

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTune(t *testing.T) {
	c, _ := tcpPair(t)
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	for name, tc := range map[string]struct{ option, want int }{
		"TCP_NODELAY":       {unix.TCP_NODELAY, 1},
		"TCP_NOTSENT_LOWAT": {unix.TCP_NOTSENT_LOWAT, 128 << 10},
		"TCP_USER_TIMEOUT":  {unix.TCP_USER_TIMEOUT, 60_000},
		"TCP_KEEPIDLE":      {unix.TCP_KEEPIDLE, 15},
		"TCP_KEEPINTVL":     {unix.TCP_KEEPINTVL, 5},
		"TCP_KEEPCNT":       {unix.TCP_KEEPCNT, 6},
	} {
		must(t, raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, tc.option); err != nil || got != tc.want {
				t.Errorf("%s is %d, %v, want %d", name, got, err, tc.want)
			}
		}))
	}
}
