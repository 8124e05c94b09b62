package node

import (
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/node/worker"
)

// WorkerMain is what the command of a worker runs: it returns the exit code. newEngine makes an engine of the kind
// that Config.Engine names, which may keep compiled code in cacheDir.
func WorkerMain(newEngine func(kind, cacheDir string) (engine.Engine, error)) int {
	return worker.Main(newEngine)
}
