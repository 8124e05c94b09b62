package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// insistent forces every call. Where an offload has failed, the fallback below the same call of the harness stays: in
// an endless recursion each level would be sent, and handed back when the clone's stack is full.
type insistent struct {
	*device.Forced
	failed bool
}

func (p *insistent) Enter(id uint32, s device.Situation) device.Decision {
	if p.failed {
		return device.Decision{Choice: device.RunLocal}
	}
	return p.Forced.Enter(id, s)
}

func (p *insistent) Offloaded(_ uint32, _ time.Duration, o device.Outcome) {
	p.failed = p.failed || !o.OK
}

// link makes host functions, by value, of what a module imports, or says why that is not possible.
func (p *player) link(x *played, hosts migrate.Hosts) string {
	m := x.m
	for _, im := range m.Imports {
		of, from := "another module", p.linked[im.Module]
		if im.Module == "spectest" {
			of = "spectest"
		}
		if from != nil && im.Kind != wasm.ExternFunc {
			from.strange = true
		}
		switch im.Kind {
		case wasm.ExternGlobal:
			return "it imports a global of " + of
		case wasm.ExternMemory:
			return "it imports the memory of " + of
		case wasm.ExternTable:
			return "it imports a table of " + of
		case wasm.ExternTag:
			return "it imports an exception tag of " + of
		}
		if int(im.Type) >= len(m.Types) {
			return "" // of a malformed module
		}
		t := m.Types[im.Type]
		for _, v := range slices.Concat(t.Params, t.Results) {
			if !v.IsNumber() {
				return "it imports a function with references or vectors in its type"
			}
		}
		if hosts[im.Module] == nil {
			hosts[im.Module] = map[string]migrate.HostFunc{}
		}
		if of == "spectest" {
			hosts[im.Module][im.Name] = migrate.HostFunc{Call: func(_ context.Context, c *migrate.HostCall) error {
				p.prints = append(p.prints, fmt.Sprintf("%s%x", im.Name, c.Params))
				return nil
			}}
			continue
		}
		switch {
		case from == nil || from.inst == nil:
			x.refused = from != nil && from.refused
			return "it imports a function of a module that is left out"
		case len(from.m.TagTypes()) > 0:
			return "it imports a function that may throw"
		}
		x.uses = append(x.uses, from)
		hosts[im.Module][im.Name] = migrate.HostFunc{Call: func(ctx context.Context, c *migrate.HostCall) error {
			p.sum.mu.Lock()
			p.sum.linked++
			p.sum.mu.Unlock()
			results, err := from.inst.Call(ctx, im.Name, c.Params)
			copy(c.Results, results)
			return err
		}}
	}
	return ""
}
