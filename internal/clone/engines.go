package clone

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Measures keeps how fast the engines run modules, some kB for each. Safe for concurrent use.
type Measures interface {
	// Load returns what Save was given last for a module; nil: nothing is known.
	Load(module wire.ID) []byte
	Save(module wire.ID, figures []byte) error
}

// memoryMeasures are the Measures of a host that has no disk.
type memoryMeasures struct{ figures sync.Map }

func (m *memoryMeasures) Load(module wire.ID) []byte {
	b, _ := m.figures.Load(module)
	data, _ := b.([]byte)
	return data
}

func (m *memoryMeasures) Save(module wire.ID, figures []byte) error {
	m.figures.Store(module, figures)
	return nil
}

// busy knows whether anything was compiled meanwhile.
type busy struct{ running, begun atomic.Int64 }

func (b *busy) begin() (end func()) {
	b.running.Add(1)
	b.begun.Add(1)
	return func() { b.running.Add(-1) }
}

// since returns what tells whether anything was compiled from now on.
func (b *busy) since() func() bool {
	running, begun := b.running.Load() > 0, b.begun.Load()
	return func() bool { return running || b.begun.Load() != begun }
}

// choice is what the host knows of its engines for one module.
type choice struct {
	host   *Host
	module wire.ID
	users  int // guarded by Host.mu
	load   sync.Once

	mu      sync.Mutex
	mod     *choose.Module // guarded by mu
	changed bool           // guarded by mu; since it was saved
	// without are engines that cannot be had for now, for a reason that says nothing of the module.
	without [choose.MostEngines]bool // guarded by mu
}

// engineID names an engine and, where it tells them, its version and settings.
func engineID(e engine.Engine) (id string, exact bool) {
	if c, ok := e.(interface{ CodeID() string }); ok && c.CodeID() != "" {
		return c.CodeID(), true
	}
	return e.Name() + "-" + runtime.GOARCH, false
}

// choice returns what is known for a module, until release.
func (h *Host) choice(module wire.ID) *choice {
	h.mu.Lock()
	c := h.choices[module]
	if c == nil {
		c = &choice{host: h, module: module}
		h.choices[module] = c
	}
	c.users++
	h.mu.Unlock()
	c.load.Do(c.recall)
	return c
}

// mostChoices is how many choices are kept in memory while nobody uses them.
const mostChoices = 64

// release ends the use of a choice, which is written down.
func (c *choice) release() {
	c.save()
	h := c.host
	h.mu.Lock()
	defer h.mu.Unlock()
	c.users--
	for id, other := range h.choices {
		if len(h.choices) <= mostChoices {
			break
		}
		if other.users == 0 {
			delete(h.choices, id)
		}
	}
}

// recall takes in what is known from before.
func (c *choice) recall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	var exact []bool
	for _, e := range c.host.Engines {
		id, known := engineID(e)
		ids, exact = append(ids, id), append(exact, known)
	}
	c.mod = choose.New(ids)
	data := c.host.Measures.Load(c.module)
	if data == nil {
		return
	}
	if err := c.mod.Load(data); err != nil {
		c.host.Log("what was measured of module %x is not used: %v", c.module[:4], err)
		return
	}
	for i := range ids {
		if !exact[i] { // a later version may take it
			c.mod.Refused(i, "")
		}
	}
}

// save writes down what is known, if that is news.
func (c *choice) save() {
	c.mu.Lock()
	data, err := c.mod.Encode()
	changed := c.changed
	c.changed = false
	c.mu.Unlock()
	if !changed {
		return
	}
	if err == nil {
		err = c.host.Measures.Save(c.module, data)
	}
	if err != nil {
		c.host.Log("what was measured of module %x is not kept: %v", c.module[:4], err)
	}
}

// next chooses an engine for code.
func (c *choice) next(code wire.ID) choose.Choice {
	ready := c.host.inPlace(code)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.mod.Next(ready)
	if n.Prepare >= 0 && c.without[n.Prepare] {
		n.Prepare = -1
	}
	c.changed = true // a trial may have begun
	return n
}

// peek is the engine that next would choose, without a trial; -1: none takes the module.
func (c *choice) peek(code wire.ID) int {
	ready := c.host.inPlace(code)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mod.Peek(ready)
}

// refused notes that an engine does not take the module.
func (c *choice) refused(i int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mod.Refused(i, err.Error())
	c.changed = true
}

// failed notes that an engine broke down over the module.
func (c *choice) failed(i int, err error) {
	c.mu.Lock()
	c.mod.Failed(i)
	c.changed = true
	c.mu.Unlock()
	c.host.Log("%s is left for module %x: %v", c.host.Engines[i].Name(), c.module[:4], err)
}

// ran takes in what an offload took.
func (c *choice) ran(i int, r choose.Run) {
	c.mu.Lock()
	before := c.mod.Now()
	changed := c.mod.Ran(i, r)
	now := c.mod.Now()
	factor := c.mod.Faster(now, before)
	c.changed = true
	c.mu.Unlock()
	if changed && factor > 0 {
		h := c.host
		h.Log("module %x runs %.2f times as fast on %s as on %s, and stays there", c.module[:4], factor, h.Engines[now].Name(), h.Engines[before].Name())
	}
}

// refusals says why each of the engines does not take the module.
func (c *choice) refusals() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i, e := range c.host.Engines {
		if why := c.mod.Refusal(i); why != "" {
			errs = append(errs, fmt.Errorf("%s: %s", e.Name(), why))
		}
	}
	return reasons(errs)
}

// reasons joins what several engines have against a module into one line.
func reasons(errs []error) error {
	err := errModule
	for _, e := range errs {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}

// fixed is the engine on which the clones of a device have to run, which are then like the device itself in all that its
// code shows; false: any will do.
func (h *Host) fixed(hello *wire.Hello) (int, bool) {
	if len(h.Engines) == 1 {
		return 0, true
	}
	if hello.Options&wire.OptionCanonicalNaN != 0 {
		return 0, false
	}
	for i, e := range h.Engines {
		if e.Name() == hello.Engine && hello.Arch == runtime.GOARCH {
			return i, true
		}
	}
	return 0, true // the device refuses it if it has to
}

// ahead makes the code of an engine ready beside all else, one at a time.
func (h *Host) ahead(hello *wire.Hello, i int) {
	h.mu.Lock()
	if h.forestall || h.open.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.forestall = true
	open := h.open
	h.work.Add(1)
	h.mu.Unlock()
	c := h.choice(hello.Module)
	go func() {
		defer h.work.Done()
		defer c.release()
		c.save() // should this be the end of the process, the next one will not try it at once
		p, err := h.program(open, hello, nil, i)
		var fault *engineError
		switch {
		case err == nil:
			h.leave(p)
		case open.Err() != nil:
		case errors.As(err, &fault):
			c.refused(i, fault)
			h.Log("%s does not take module %x: %v", h.Engines[i].Name(), hello.Module[:4], fault)
		default:
			c.mu.Lock()
			c.without[i] = true
			c.mu.Unlock()
			h.Log("code of module %x for %s cannot be made now: %v", hello.Module[:4], h.Engines[i].Name(), err)
		}
		h.mu.Lock()
		h.forestall = false
		h.mu.Unlock()
	}()
}

// settle finds an engine that takes the module, and begins on it. bin is as for program.
func (s *session) settle(ctx context.Context, bin []byte) error {
	var faults []error
	tried := map[int]bool{}
	for {
		i := s.first(tried)
		if i < 0 {
			if len(faults) == 0 {
				return s.choice.refusals()
			}
			return reasons(faults)
		}
		tried[i] = true
		err := s.beginOn(ctx, i, bin)
		var fault *engineError
		switch {
		case err == nil:
			if len(faults) > 0 {
				s.host.Log("clone of %x runs on %s: %v", s.hello.Module[:4], s.engine(), errors.Join(faults...))
			}
			return nil
		case s.bound || !errors.As(err, &fault):
			return err
		}
		faults = append(faults, fmt.Errorf("%s: %w", s.host.Engines[i].Name(), fault))
	}
}

// first is the engine to begin on, of those that were not tried; -1: there is none.
func (s *session) first(tried map[int]bool) int {
	if s.bound {
		if tried[s.eng] {
			return -1
		}
		return s.eng
	}
	c := s.choice.next(s.hello.Code)
	if c.Engine < 0 || !tried[c.Engine] {
		if c.Prepare >= 0 {
			s.host.ahead(s.hello, c.Prepare)
		}
		return c.Engine
	}
	for i := range s.host.Engines {
		if !tried[i] {
			return i
		}
	}
	return -1
}

// beginOn begins anew on an engine.
func (s *session) beginOn(ctx context.Context, i int, bin []byte) error {
	h := s.host
	code, err := h.program(ctx, s.hello, bin, i)
	var fault *engineError
	if errors.As(err, &fault) && !s.bound {
		s.choice.refused(i, fault)
	}
	if err != nil {
		return err
	}
	s.drop(ctx)
	s.eng, s.code = i, code
	return s.begin(ctx)
}

// drop gives up process and code.
func (s *session) drop(ctx context.Context) {
	if s.proc != nil {
		s.proc.Inst.Close(context.WithoutCancel(ctx))
		s.proc = nil
	}
	if s.code != nil {
		s.host.leave(s.code)
		s.code = nil
	}
}

func (s *session) engine() string { return s.host.Engines[s.eng].Name() }
