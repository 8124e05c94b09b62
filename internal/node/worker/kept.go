package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/chunkstore"
	"github.com/clonecloud/clonecloud/internal/replica/mirror"
)

// When what nobody needs any more is looked for in a store. Each time is put off by up to a quarter of itself, so that
// workers that began together do not go on together.
const (
	sweepFirst = time.Minute
	sweepEvery = time.Hour
	sweepAgain = time.Minute // after which it is tried again where a guest ran
)

// maxStores bounds the keys that one device may come with: it has one, and another where its user made a new one.
const maxStores = 16

// closeTime is how long stores may take to write what came last; the daemon has little more patience.
const closeTime = 2 * time.Second

var errEnding = errors.New("the worker is about to end")

// kept are the stores of files of a worker's device. What nobody needs any more is collected in the background. Collections
// and checks run one at a time.
type kept struct {
	openStore func(key [32]byte) (*chunkstore.Store, error)
	busy      func() bool // a guest runs, which is not to be disturbed
	log       func(format string, args ...any)
	turn      chan struct{} // has one value while neither a collection nor a check runs
	life      context.Context
	end       context.CancelFunc

	mu     sync.Mutex
	ended  bool                // guarded by mu
	opened int                 // guarded by mu; stores, and those about to be
	stores []*chunkstore.Store // guarded by mu
	users  sync.WaitGroup      // of stores, beside the host; added to under mu while ended is not set
}

func newKept(open func(key [32]byte) (*chunkstore.Store, error), busy func() bool, log func(format string, args ...any)) *kept {
	k := &kept{openStore: open, busy: busy, log: log, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	k.life, k.end = context.WithCancel(context.Background())
	return k
}

// open opens a store. That may take long where the place is another machine.
func (k *kept) open(key [32]byte) (mirror.Store, error) {
	if err := k.reserve(); err != nil {
		return nil, err
	}
	s, err := k.openStore(key)
	k.mu.Lock()
	ended := k.ended
	switch {
	case err != nil:
		k.opened--
	case !ended:
		k.stores = append(k.stores, s)
		k.users.Go(func() { k.sweep(s) })
	}
	k.mu.Unlock()
	if err == nil && ended {
		err = errors.Join(errEnding, s.Close())
	}
	if err != nil {
		return nil, err
	}
	return &keptStore{Store: s, kept: k}, nil
}

// reserve counts a store that is about to be opened.
func (k *kept) reserve() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ended:
		return errEnding
	case k.opened >= maxStores:
		return fmt.Errorf("the device has come with %d keys, which is the limit", maxStores)
	}
	k.opened++
	return nil
}

// sweep collects in a store now and then, until the worker ends.
func (k *kept) sweep(s *chunkstore.Store) {
	for wait := sweepFirst; ; wait = sweepEvery {
		if !k.sleep(wait + rand.N(wait/4)) {
			return
		}
		// A device that is never idle gets its turn all the same, or the store would only grow.
		for late := time.Duration(0); k.busy() && late < sweepEvery; late += sweepAgain {
			if !k.sleep(sweepAgain) {
				return
			}
		}
		if err := k.collect(s); err != nil && k.life.Err() == nil {
			k.log("%v", err)
		}
	}
}

// sleep returns false if the worker ends.
func (k *kept) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-k.life.Done():
		return false
	}
}

func (k *kept) collect(s *chunkstore.Store) error {
	done, err := k.take(k.life)
	if err != nil {
		return err
	}
	defer done()
	st, err := s.Collect(k.life)
	if st.Removed > 0 {
		k.log("files: %d of %d objects (%d bytes) are removed, which no version needs any more", st.Removed, st.Objects, st.RemovedBytes)
	}
	return err
}

// take waits for the turn.
func (k *kept) take(ctx context.Context) (done func(), err error) {
	select {
	case <-k.turn:
		return func() { k.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// use keeps stores open until done is called. The context ends earlier if the worker is to end.
func (k *kept) use(ctx context.Context) (_ context.Context, done func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return nil, nil, errEnding
	}
	k.users.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(k.life, func() { cancel(errEnding) })
	return ctx, func() {
		unlink()
		cancel(nil)
		k.users.Done()
	}, nil
}

// close has all stores write what waits, and closes them, in no longer than the time given.
func (k *kept) close(within time.Duration) {
	k.mu.Lock()
	k.ended = true
	stores := k.stores
	k.mu.Unlock()
	k.end()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		k.users.Wait()
		var all sync.WaitGroup
		for _, s := range stores {
			all.Go(func() {
				if err := s.Close(); err != nil {
					k.log("close the kept files: %v", err)
				}
			})
		}
		all.Wait()
	}()
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
		k.log("files that came last are not all kept: writing them takes longer than %v", within)
	}
}

// keptStore is a store whose owner can have it checked.
type keptStore struct {
	*chunkstore.Store
	kept *kept
}

// maxTold bounds the problems of one check that the log names.
const maxTold = 10

// Check implements mirror.Checker.
func (s *keptStore) Check(ctx context.Context, readData bool, progress func(mirror.Checked)) (mirror.Checked, error) {
	k := s.kept
	ctx, unused, err := k.use(ctx)
	if err != nil {
		return mirror.Checked{}, err
	}
	defer unused()
	done, err := k.take(ctx)
	if err != nil {
		return mirror.Checked{}, err
	}
	defer done()
	var c mirror.Checked
	told := 0
	st, err := s.Store.Check(ctx, chunkstore.CheckOptions{
		ReadData: readData,
		Report: func(p chunkstore.Problem) {
			tally(&c, p)
			if p.Fault != chunkstore.FaultAbsent && told < maxTold {
				told++
				k.log("check of files: %v", p)
			}
			progress(c)
		},
		Progress: func(st chunkstore.CheckStats) {
			count(&c, st)
			progress(c)
		},
	})
	count(&c, st)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c, err
}

// count takes over what a check looked at.
func count(c *mirror.Checked, st chunkstore.CheckStats) {
	c.Objects, c.Bytes, c.Read = uint64(st.Objects), st.Bytes, uint64(st.Read)
	c.Roots, c.Reached = uint64(st.Roots), uint64(st.Reached)
}

// tally counts a problem.
func tally(c *mirror.Checked, p chunkstore.Problem) {
	switch p.Fault {
	case chunkstore.FaultForeign:
		c.Foreign++
	case chunkstore.FaultSort:
		c.Malformed++
	case chunkstore.FaultAbsent:
		c.Missing++
	default:
		c.Damaged++
		if p.Removed {
			c.Removed++
		}
	}
}
