package node

import (
	"github.com/clonecloud/clonecloud/internal/node/worker"
)

// Engines says which engines a worker has, by the kind that Config.Engine names.
type Engines = worker.Engines

// WorkerMain is what the command of a worker runs: it returns the exit code.
func WorkerMain(engines Engines) int { return worker.Main(engines) }
