//go:build !linux && !darwin

package local

import (
	"context"
	"os"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// pollable says that the system can tell whether a read of a file would block.
const pollable = false

func waitFile(context.Context, *os.File, bool, int) error { return vfs.ENOTSUP }
