package clone

import (
	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Spares counts the instances that wait for a conversation, and the programs that no conversation uses, and those that one does.
func (h *Host) Spares() (instances, unused, used int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.programs {
		if p.spare != nil {
			instances++
		}
		if p.users == 0 {
			unused++
		} else {
			used++
		}
	}
	return instances, unused, used
}

// Prefer has the clones of a module run on one engine, from their next commit on. A conversation has to use the choice.
func (h *Host) Prefer(module wire.ID, engine int) {
	c := h.choice(module)
	defer c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range h.Engines {
		why := ""
		if i != engine {
			why = "a test prefers another"
		}
		c.mod.Refused(i, why)
	}
}

// Measured takes in a run as if it had been.
func (h *Host) Measured(module wire.ID, engine int, r choose.Run) {
	c := h.choice(module)
	defer c.release()
	c.ran(engine, r)
}

// InPlace tells of which engines the code is there.
func (h *Host) InPlace(code wire.ID) []bool {
	is := h.inPlace(code)
	var list []bool
	for i := range h.Engines {
		list = append(list, is(i))
	}
	return list
}

// Allow takes back what Prefer has against an engine.
func (h *Host) Allow(module wire.ID, engine int) {
	c := h.choice(module)
	defer c.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mod.Refused(engine, "")
}
