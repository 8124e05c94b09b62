package worker

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
)

// Compiled code of a guest cannot be interrupted between two polls, neither by Go's scheduler nor by its collector,
// which would stop the world and wait. So a worker has more of the scheduler's processors than the machine has, for
// guests must not keep all of them from those who read links; and it collects garbage by appointment with the
// guests, instead of whenever the heap has grown.

const (
	collectLook     = 20 * time.Millisecond
	collectPatience = 50 * time.Millisecond
	collectFirst    = 32 << 20    // bytes of heap before the first collection
	collectGrowth   = 3           // the next comes at so many times what was live
	collectForced   = 512 << 20   // bytes above that at which guests are not asked any more
	collectIdle     = time.Second // without guests that run, after which little garbage is worth collecting too
	collectLittle   = 2 << 20
	spareProcessors = 8
)

// prepareScheduler is called once, before anything runs.
func prepareScheduler() {
	runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors)
	debug.SetGCPercent(-1)
}

// collecting collects garbage as long as the process lives.
func collecting(host *clone.Host) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	next, live := uint64(collectFirst), uint64(0)
	idle := time.Now() // when a guest was last seen to run
	for range time.Tick(collectLook) {
		now := heap()
		if host.Stats().Running > 0 {
			idle = time.Now()
		}
		switch {
		case now > live+collectLittle && time.Since(idle) > collectIdle && host.Rest(debug.FreeOSMemory, collectPatience):
			idle = time.Now()
		case now < next:
			continue
		case host.Rest(runtime.GC, collectPatience):
		case now > next+collectForced:
			runtime.GC()
		default:
			continue // a guest that does not poll now may do so later
		}
		live = heap()
		next = max(collectFirst, live*collectGrowth)
	}
}
