package clone

import (
	"context"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// preparation is a module's being made ready: its time is watched, but for what it waits. Modules are prepared one at a
// time, but for those that compile, of which the engine takes care.
type preparation struct {
	host   *Host
	module wire.ID
	alone  bool // the preparing lock is held
	stop   func()
}

// preparing begins the preparation of a module, when its turn has come; over ends it.
func (h *Host) preparing(module wire.ID) *preparation {
	h.prepare.Lock()
	p := &preparation{host: h, module: module, alone: true}
	p.start()
	return p
}

func (p *preparation) start() {
	h, limit := p.host, p.host.Limits.Compile
	end := h.Watch("compile", p.module, limit)
	timer := time.AfterFunc(limit, func() { h.Stuck("compile", p.module) })
	p.stop = sync.OnceFunc(func() {
		timer.Stop()
		end()
	})
}

func (p *preparation) over() {
	p.stop()
	if p.alone {
		p.alone = false
		p.host.prepare.Unlock()
	}
}

// preparationKey is where a context has the preparation that it is of.
type preparationKey struct{}

func (p *preparation) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, preparationKey{}, p)
}

// Long is for engines of a Host, and called by Compile, with its context, before work that may take minutes. It returns
// what wait does, which waits for what such work has to wait for: the module's time stands still meanwhile, and other
// modules are prepared then and afterwards.
func Long(ctx context.Context, wait func(context.Context) error) error {
	p, _ := ctx.Value(preparationKey{}).(*preparation)
	if p == nil {
		return wait(ctx)
	}
	p.over()
	defer p.start()
	return wait(ctx)
}
