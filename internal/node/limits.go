package node

import (
	"time"

	"github.com/clonecloud/clonecloud/internal/node/control"
)

// Limits bound what devices may use. Zero fields have the defaults named.
type Limits = control.Limits

// Bounds of the daemon.
const (
	maxPending = 512  // connections that have not said yet what they want
	maxWaiting = 1024 // connections that wait for a worker
	maxPlain   = 128  // connections that the daemon serves itself
	helloTime  = 5 * time.Second
	startTime  = 15 * time.Second // for a worker to become ready
	silentTime = time.Minute      // after which a worker that reports nothing, and has nothing announced, is given up

	filesOfWorker = 5   // descriptors that one worker costs the daemon
	filesOfOwn    = 128 // what the daemon needs besides
)

// capacity fits the bounds to the descriptors that this process may have.
func capacity(files uint64, devices, warm int) (pending, waiting, plain, fit int) {
	pending, waiting, plain, fit = maxPending, maxWaiting, maxPlain, devices
	if files == 0 || files >= uint64(pending+waiting+plain+(devices+warm)*filesOfWorker+filesOfOwn) {
		return pending, waiting, plain, fit
	}
	// A quarter for those who wait, the rest for workers.
	rest := max(int(files)-filesOfOwn, 32)
	pending, waiting, plain = max(rest/8, 8), max(rest/16, 8), max(rest/16, 8)
	fit = max(1, min(devices, (rest-pending-waiting-plain)/filesOfWorker-warm))
	return pending, waiting, plain, fit
}
