package node

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/trust"
)

var epoch = time.Unix(1_000_000, 0)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func route(n byte) trust.Route { return trust.Route{n} }

func TestBackoff(t *testing.T) {
	b := backoff{free: 2, first: 100 * time.Millisecond, most: time.Second}
	var got []time.Duration
	for range 8 {
		b.fail(at(0))
		got = append(got, b.wait(at(0)))
	}
	want := []time.Duration{0, 0, 100, 200, 400, 800, 1000, 1000}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Fatalf("got %v, want %v ms", got, want)
		}
	}
	if b.wait(at(999)) == 0 || b.wait(at(1000)) != 0 {
		t.Error("the pause ends at the wrong time")
	}
	if b.succeed(); b.wait(at(0)) != 0 {
		t.Error("waits after success")
	}
}

// wants checks one decision.
func wants(t *testing.T, p *pool, r byte, ms int, v verdict, id, evict int) {
	t.Helper()
	gotV, gotID, gotEvict, _ := p.want(route(r), at(ms))
	if gotV != v || gotID != id || gotEvict != evict {
		t.Fatalf("want(%d): got %d, worker %d, evict %d; want %d, worker %d, evict %d", r, gotV, gotID, gotEvict, v, id, evict)
	}
}

func starts(t *testing.T, p *pool, ms int, want ...int) {
	t.Helper()
	got, _ := p.start(at(ms))
	if len(got) != len(want) {
		t.Fatalf("starts %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("starts %v, want %v", got, want)
		}
	}
}

func TestPool(t *testing.T) {
	p := newPool(1, 2, 10*time.Minute)
	starts(t, p, 0, 1)
	wants(t, p, 1, 0, verdictAwait, 0, 0)
	wants(t, p, 1, 0, verdictAwait, 0, 0) // a second connection of the same device waits for the same worker
	starts(t, p, 0, 2)                    // and another is kept ready
	if r, ok := p.ready(1, at(1)); !ok || r != route(1) {
		t.Fatalf("ready: %v %t", r, ok)
	}
	wants(t, p, 1, 1, verdictTake, 1, 0)
	if _, ok := p.ready(2, at(1)); ok {
		t.Fatal("nobody waits")
	}
	wants(t, p, 2, 2, verdictAssign, 2, 0)
	starts(t, p, 2)                      // no more can come
	wants(t, p, 3, 3, verdictFull, 0, 0) // two devices, both new
	p.busy(1, true, true, at(3))
	p.busy(2, true, true, at(3))
	wants(t, p, 3, 4, verdictFull, 0, 0)
	p.busy(2, false, false, at(5))
	p.busy(1, false, false, at(6))
	wants(t, p, 3, 7, verdictAwait, 0, 2) // the one that has been quiet for longest goes
	starts(t, p, 7, 3)
	if r, ok := p.ready(3, at(7)); !ok || r != route(3) {
		t.Fatalf("ready: %v %t", r, ok)
	}
	p.gone(2, false, at(8))
	wants(t, p, 1, 8, verdictTake, 1, 0)
	p.busy(3, true, true, at(8))
	if got := p.sweep(at(6 + 10*60*1000 - 1)); len(got) != 0 {
		t.Fatalf("swept %v too early", got)
	}
	if got := p.sweep(at(6 + 10*60*1000)); len(got) != 1 || got[0] != 1 {
		t.Fatalf("swept %v, want 1", got)
	}
	p.gone(1, false, at(700_000))
	p.gone(3, true, at(700_000))
	wants(t, p, 3, 700_000, verdictAwait, 0, 0) // its route is free at once
	p.abandon(route(3))
	if ids := p.close(); len(ids) != 0 {
		t.Errorf("close: %v without a route", ids)
	}
	wants(t, p, 9, 700_000, verdictShut, 0, 0)
}

func TestPoolUnused(t *testing.T) {
	p := newPool(1, 2, 10*time.Minute)
	p.start(at(0))
	p.ready(1, at(0))
	wants(t, p, 1, 0, verdictAssign, 1, 0)
	p.busy(1, false, false, at(10)) // somebody came, and showed nothing
	if got := p.sweep(at(30_000)); len(got) != 1 {
		t.Errorf("a worker that nobody has used is kept")
	}
}

func TestPoolPauses(t *testing.T) {
	p := newPool(0, 10, time.Minute)
	die := func(ms int) {
		v, _, _, _ := p.want(route(1), at(ms))
		if v != verdictAwait {
			t.Fatalf("at %d: verdict %d", ms, v)
		}
		ids, _ := p.start(at(ms))
		p.ready(ids[0], at(ms))
		p.gone(ids[0], true, at(ms+1))
	}
	for range 6 {
		die(0)
	}
	if v, _, _, wait := p.want(route(1), at(1)); v != verdictPause || wait != 100*time.Millisecond {
		t.Errorf("got %d %v, want a pause of 100ms", v, wait)
	}
	if v, _, _, _ := p.want(route(2), at(1)); v != verdictAwait {
		t.Error("another device has to pause, too")
	}
	p.abandon(route(2))
	die(101)
	if _, _, _, wait := p.want(route(1), at(102)); wait != 200*time.Millisecond {
		t.Errorf("second pause %v, want 200ms", wait)
	}
	// Workers that do not even start are not started in a loop.
	p = newPool(1, 10, time.Minute)
	for range 3 {
		ids, again := p.start(at(0))
		if again > 0 {
			return
		}
		for _, id := range ids {
			p.gone(id, true, at(0))
		}
	}
	t.Error("workers are started again and again")
}

// TestPoolRandom checks what must always hold.
func TestPoolRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	p := newPool(2, 5, time.Second)
	now := epoch
	for step := range 100_000 {
		now = now.Add(time.Duration(rng.IntN(50)) * time.Millisecond)
		var some int
		for id := range p.slots {
			some = id
			break
		}
		switch rng.IntN(8) {
		case 0, 1:
			r := route(byte(rng.IntN(8)))
			if v, id, _, _ := p.want(r, now); v == verdictTake || v == verdictAssign {
				if s := p.slots[id]; s == nil || s.state != slotServing || s.route != r {
					t.Fatalf("seed %d, step %d: route %v is given worker %d: %+v", seed, step, r, id, s)
				}
			}
		case 2:
			p.start(now)
		case 3:
			p.ready(some, now)
		case 4:
			p.gone(some, rng.IntN(2) == 0, now)
		case 5:
			p.busy(some, rng.IntN(2) == 0, rng.IntN(2) == 0, now)
		case 6:
			p.sweep(now)
		case 7:
			p.abandon(route(byte(rng.IntN(8))))
		}
		serving, alive := 0, 0
		for _, s := range p.slots {
			switch s.state {
			case slotServing:
				serving++
				if p.routes[s.route] != s {
					t.Fatalf("seed %d, step %d: worker %d has lost its route", seed, step, s.id)
				}
			case slotStarting, slotReady:
				alive++
			}
		}
		if serving != len(p.routes) || serving+len(p.waiting) > p.devices || alive > p.warm+p.devices {
			t.Fatalf("seed %d, step %d: %d serve %d routes, %d wait, %d in reserve", seed, step, serving, len(p.routes), len(p.waiting), alive)
		}
	}
}

func TestCapacity(t *testing.T) {
	for _, files := range []uint64{0, 64, 256, 1024, 4096, 1 << 20} {
		pending, waiting, plain, devices := capacity(files, 256, 1)
		if pending <= 0 || waiting <= 0 || plain <= 0 || devices <= 0 {
			t.Fatalf("%d files: %d %d %d %d", files, pending, waiting, plain, devices)
		}
		if need := uint64(pending + waiting + plain + devices*filesOfWorker + filesOfOwn); files >= 1024 && need > files {
			t.Errorf("%d files: %d are needed", files, need)
		}
	}
}

// TestAfterPause: a pause in which nothing ran is nobody's silence, and gives nobody more time than it took.
func TestAfterPause(t *testing.T) {
	for _, c := range []struct{ heard, from, to, want int }{
		{0, 100, 9100, 9000},
		{100, 100, 9100, 9100},
		{150, 100, 9100, 9100},  // right before it
		{9100, 100, 9100, 9100}, // right after it
	} {
		if got := afterPause(at(c.heard), at(c.from), at(c.to)); !got.Equal(at(c.want)) {
			t.Errorf("heard at %d, pause from %d to %d: counts as %v, want %v", c.heard, c.from, c.to, got, at(c.want))
		}
	}
}

func TestSilent(t *testing.T) {
	for name, c := range map[string]struct {
		p    *process
		want bool
	}{
		"spare":   {&process{heard: at(0)}, false}, // it has nothing to say
		"serving": {&process{heard: at(0), serving: true}, true},
		"ending":  {&process{heard: at(0), serving: true, asked: true}, false},
		"heard":   {&process{heard: at(0).Add(silentTime), serving: true}, false},
	} {
		if got := c.p.silentAt(at(0).Add(silentTime + 1)); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestCheckStatus(t *testing.T) {
	for name, c := range map[string]struct {
		s  Status
		ok bool
	}{
		"new":    {Status{}, true},
		"usual":  {Status{Engine: "wazero-compiler", Arch: "amd64", Speed: 4e8}, true},
		"two":    {Status{Engine: "a", Engines: []string{"a", "b"}}, true},
		"second": {Status{Engine: "a", Engines: []string{"a", "b\n"}}, false},
		"many":   {Status{Engine: "a", Engines: make([]string, maxEngines+1)}, false},
		"escape": {Status{Engine: "a\x1b[2J"}, false},
		"long":   {Status{Arch: strings.Repeat("a", 1<<16)}, false},
		"speed":  {Status{Speed: -1}, false},
		"faster": {Status{Speed: 1e300}, false},
	} {
		if err := CheckStatus(&c.s); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
