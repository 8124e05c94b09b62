package clonecloud

import (
	"fmt"

	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// ForgetCloud removes what runs have learned of the node behind an address and kept in memoryDir, programs included.
func ForgetCloud(address, memoryDir string) error {
	addr, err := trust.ParseAddress(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return remote.OpenMemory(memoryDir, addr.Pin).Forget()
}
