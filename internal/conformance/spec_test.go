package conformance

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// mostModules is more than any script has.
const mostModules = 512

// every forces each call of each function that may move.
const every = 1 << 30

// player runs the commands of a script in one way.
type player struct {
	l         *Lab
	w         Way
	node      *clone.Host
	ctx       context.Context
	sum       *specTally
	instances map[string]*played // by the name in the script
	linked    map[string]*played // by the registered name
	last      *played
	all       []*played
	prints    []string
	strange   []*command // that the script cannot judge
}

// played is a module of a script; why says why it is not run.
type played struct {
	name   string
	m      *wasm.Module
	inst   *runner.Instance
	funcs  []analysis.Func
	called map[uint32]bool
	why    string
	policy *insistent
	// strange says that what the script says of it does not hold, since something that acts on it was left out.
	strange bool
	uses    []*played // that it calls
	refused bool      // the device's engine has not what it, or one that it is linked to, needs; the engine of the run alone has
}

// leftOut is the outcome of what would have to do with a refused module.
const leftOut = "left out"

func (m *played) odd() bool { return m.strange || slices.ContainsFunc(m.uses, (*played).odd) }

// play gives what can be seen after each command, and of each module in the end.
func (l *Lab) play(ctx context.Context, s *script, w Way, sum *specTally) (outcomes, problems []string, strange []*command, err error) {
	p := &player{l: l, w: w, ctx: ctx, sum: sum, instances: map[string]*played{}, linked: map[string]*played{}}
	if w.Clone != "" && l.Dial == nil && !l.remote(w) {
		list, err := l.nodeEngines(w.Clone)
		if err != nil {
			return nil, nil, nil, err
		}
		p.node = &clone.Host{Engines: list, Peer: peerConfig(w), Limits: clone.Limits{Clones: mostModules}}
		defer p.node.Close(ctx)
	}
	defer func() {
		for _, m := range p.all {
			if m.inst != nil {
				m.inst.Close(ctx)
			}
		}
	}()
	for i := range s.Commands {
		o := p.command(s, &s.Commands[i])
		if len(p.prints) > 0 {
			o += " printed " + strings.Join(p.prints, " ")
			p.prints = nil
		}
		outcomes = append(outcomes, o)
	}
	for _, m := range p.all {
		state, problem := p.finish(m)
		outcomes = append(outcomes, m.name+": "+state)
		if problem != "" {
			problems = append(problems, m.name+": "+problem)
		}
	}
	return outcomes, problems, p.strange, nil
}

// command carries one command out; "" means that there was nothing to see.
func (p *player) command(s *script, c *command) string {
	switch c.Type {
	case "module":
		bin, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
		if err != nil {
			return "failed: " + err.Error()
		}
		m, err := p.load(c.Filename, bin)
		p.last = m
		p.all = append(p.all, m)
		if c.Name != "" {
			p.instances[c.Name] = m
		}
		if m.refused {
			return leftOut
		}
		if err != nil {
			return "failed: " + err.Error()
		}
	case "register":
		m := p.last
		if c.Name != "" {
			m = p.instances[c.Name]
		}
		p.linked[c.As] = m
	case "assert_invalid", "assert_malformed", "assert_uninstantiable":
		if c.ModuleType == "text" || p.w.Clone != "" && c.Type != "assert_uninstantiable" {
			return "" // refused before a clone comes into it
		}
		bin, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
		if err != nil {
			return "failed: " + err.Error()
		}
		m, err := p.load(c.Filename, bin)
		switch {
		case m.refused:
			return leftOut
		case m.why != "":
			return ""
		case err == nil:
			m.inst.Close(p.ctx)
			return "accepted"
		}
		p.sum.mu.Lock()
		p.sum.refused++
		p.sum.mu.Unlock()
		if c.Type == "assert_uninstantiable" {
			return ended(err)
		}
		return "refused"
	case "action", "assert_return", "assert_trap", "assert_exhaustion", "assert_exception":
		m := p.last
		if c.Action.Module != "" {
			m = p.instances[c.Action.Module]
		}
		o, skip := p.act(m, c)
		if m != nil && m.odd() && p.w.Clone == "" {
			p.strange = append(p.strange, c)
		}
		p.sum.mu.Lock()
		defer p.sum.mu.Unlock()
		if skip != "" {
			p.sum.skipped++
			p.sum.skipReasons[skip]++
			if m != nil && m.refused {
				return leftOut
			}
			return ""
		}
		p.sum.calls++
		return o
	}
	return ""
}

// load loads a module with what is registered; one that needs what the runner does not offer is left out.
func (p *player) load(name string, bin []byte) (*played, error) {
	x := &played{name: name, called: map[uint32]bool{}}
	eng, err := p.l.Engine(p.w.Device)
	if err != nil {
		return x, err
	}
	cfg := runner.Config{Module: bin, Engine: eng, CanonicalNaN: p.w.Canonical, Hosts: migrate.Hosts{}}
	if p.w.Clone != "" {
		switch {
		case p.l.Dial != nil:
			force(&cfg, p.w)
			cfg.Dial = p.l.Dial
		case p.l.remote(p.w):
			if err := p.l.connectSite(&cfg, p.w); err != nil {
				return x, err
			}
		default:
			connect(&cfg, p.node, p.w)
		}
		x.policy = &insistent{Forced: device.NewForced(0, every, 0)}
		cfg.Policy = func(*analysis.Report, []analysis.Func) device.Policy { return x.policy }
	}
	if x.m, err = wasm.Decode(bin); err == nil {
		if x.why = p.link(x, cfg.Hosts); x.why != "" {
			return x, nil
		}
		// Tests of malformed modules must reach the runner as they are.
		if exclude := adapt(x.m); len(exclude) > 0 {
			cfg.Module = x.m.Encode()
			cfg.Analysis.Exclude = exclude
		}
	}
	if x.inst, err = runner.Load(p.ctx, cfg); err != nil {
		if p.w.Device == Wasmtime && errors.Is(err, engine.ErrUnsupported) {
			x.refused, x.why = true, "the device's engine: "+general(err.Error())
			return x, nil
		}
		return x, err
	}
	if p.w.Clone == "" {
		return x, nil
	}
	x.inst.AwaitClone(p.ctx, time.Minute)
	opt := cfg.Analysis
	opt.Alone = true
	opt.Pinned = func(module, name string) string {
		if cfg.Hosts.Has(module, name) {
			return ""
		}
		return "not declared"
	}
	r, err := analysis.Analyze(x.m, opt)
	if err != nil {
		return x, err
	}
	x.funcs = r.Funcs
	return x, nil
}

// act invokes a function or reads a global.
func (p *player) act(m *played, c *command) (outcome, skip string) {
	if m == nil || m.inst == nil {
		return "", "of a module that is left out"
	}
	e := m.m.Export(c.Action.Field)
	if e == nil {
		return "failed: no such export", ""
	}
	if c.Action.Type == "get" {
		g := m.inst.Process().Inst.Global(c.Action.Field)
		if g == nil {
			return "", "read of a global that is a reference or vector"
		}
		return fmt.Sprintf("%x", []uint64{g.Get()}), ""
	}
	t, _ := m.m.FuncType(e.Index)
	name := c.Action.Field
	for _, v := range slices.Concat(t.Params, t.Results) {
		if v.IsRef() {
			m.strange = true
			return "", "of a function with references in its type"
		}
		if v.Kind == wasm.V128 {
			name = adapted + c.Action.Field
		}
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.slots()...)
	}
	if m.policy != nil {
		m.policy.failed = false
	}
	m.called[e.Index] = true
	results, err := m.inst.Call(p.ctx, name, args)
	if err != nil {
		return ended(err), ""
	}
	return fmt.Sprintf("%x", results), ""
}

// ended is end without the words around it, which may differ.
func ended(err error) string {
	var trap *engine.Trap
	if errors.As(err, &trap) {
		return trap.Error()
	}
	return end(err)
}

// finish gives the module's state, counts what it did, and tells what should have moved and did not.
func (p *player) finish(m *played) (state, problem string) {
	s := p.sum
	s.mu.Lock()
	defer s.mu.Unlock()
	s.modules++
	if m.inst == nil {
		if m.why == "" {
			m.why = "it cannot be loaded"
		}
		s.excluded[m.why]++
		if m.refused {
			return leftOut, ""
		}
		return "", ""
	}
	proc := m.inst.Process()
	img, err := proc.Capture(p.ctx, delta.ID{})
	if err != nil {
		return "", err.Error()
	}
	state = fmt.Sprintf("globals %v, dropped %v", img.Globals, img.Dropped)
	if mem := proc.Inst.Memory(); mem != nil {
		b := mem.Bytes()
		state += fmt.Sprintf(", %d bytes %x", len(b), sha256.Sum256(b[:min(len(b), 16<<20)]))
	}
	report, err := m.inst.Finish(nil)
	if err != nil {
		return state, err.Error()
	}
	offloads, kept, back := 0, map[uint32]int{}, 0
	for _, f := range report.Functions {
		offloads += f.Offloads
		s.homeCalls += f.HomeCalls
		if m.called[f.Index] {
			s.offloaded += f.Offloads
		}
		for r, n := range f.Fallbacks {
			s.fallbacks[r] += n
			if back += n; r != "handed back" {
				problem += fmt.Sprintf("function %d fell back: %s; ", f.Index, r)
			}
		}
		for r, n := range f.Kept {
			s.keptCalls[r] += n
			kept[f.Index] += n
		}
		if m.called[f.Index] && f.Calls == 0 {
			problem += fmt.Sprintf("candidate %d was called and nobody asked; ", f.Index)
		}
	}
	s.offloads += offloads
	if len(kept) > 0 && back == 0 {
		problem += fmt.Sprintf("calls kept here, by function: %v; ", kept)
	}
	if offloads > 0 {
		s.moved++
		return state, problem
	}
	switch {
	case p.w.Clone == "":
	case len(m.called) == 0:
		s.excluded["nothing of it is called"]++
	case report.Stay != "" && !strings.HasPrefix(report.Stay, "no function"):
		s.excluded[general(report.Stay)]++
	default:
		why := map[string]bool{}
		for f := range m.called {
			if m.funcs[f].Candidate && back == 0 {
				problem += fmt.Sprintf("candidate %d was called and did not move; ", f)
			}
			if m.funcs[f].Candidate {
				why["endless recursion, handed back by the clone"] = true
			} else {
				why[general(m.funcs[f].Why)] = true
			}
		}
		s.excluded["of all that is called: "+strings.Join(slices.Sorted(maps.Keys(why)), "; ")]++
	}
	return state, problem
}

// TestSpec plays the specification's tests on a device alone and with every call forced onto a clone.
func TestSpec(t *testing.T) {
	all := scripts(t)
	total := len(all)
	if !*full && *only == "" {
		// Every eighth or, in the shortest form, sixteenth script stands for all.
		every := 8
		if testing.Short() {
			every = 16
		}
		var some []*script
		for i := 0; i < total; i += every {
			some = append(some, all[i])
		}
		all = some
	}
	pairs := pairingsOf(1)
	l := newLab(t)
	var mu sync.Mutex
	here, sums := newSpecTally(), make([]*specTally, len(pairs))
	for i := range sums {
		sums[i] = newSpecTally()
	}
	one := func(s *script) {
		ctx := t.Context()
		complain := func(way Way, format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			t.Errorf("%v, way %v: %s", s, way, fmt.Sprintf(format, args...))
		}
		alone := Way{Device: Compiler, Canonical: true}
		want, _, strange, err := l.play(ctx, s, alone, here)
		if err != nil {
			complain(alone, "%v", err)
			return
		}
		here.mu.Lock()
		here.unjudged += len(strange)
		here.mu.Unlock()
		for i := range s.Commands {
			c := &s.Commands[i]
			if want[i] == "" || slices.Contains(strange, c) || exempt(s, c) {
				continue
			}
			if wrong := judge(c, want[i]); wrong != "" {
				complain(alone, "line %d: %s: %s", c.Line, c.Type, wrong)
			}
		}
		for k, pair := range pairs {
			w := Way{Device: pair[0], Clone: pair[1], Canonical: true, All: true, First: every}
			got, problems, _, err := l.play(ctx, s, w, sums[k])
			if err != nil {
				complain(w, "%v", err)
				continue
			}
			for i := range got {
				what := "in the end"
				if i < len(s.Commands) {
					c := &s.Commands[i]
					what = fmt.Sprintf("line %d: %s %s", c.Line, c.Type, c.Action.Field)
					if c.Type == "assert_invalid" || c.Type == "assert_malformed" {
						continue
					}
				}
				if got[i] == leftOut || strings.HasSuffix(got[i], ": "+leftOut) {
					continue
				}
				if i < len(s.Commands) && exempt(s, &s.Commands[i]) && judge(&s.Commands[i], got[i]) == "" {
					continue // this engine decides as the script does
				}
				if got[i] != want[i] {
					complain(w, "%s: got %q, want %q", what, got[i], want[i])
				}
			}
			for _, x := range problems {
				complain(w, "%s", x)
			}
		}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(all) {
					return
				}
				if s := all[n]; strings.Contains(s.String(), *only) {
					one(s)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("alone: %v", here)
	for i, s := range sums {
		t.Logf("%s>%s: %v", pairs[i][0], pairs[i][1], s)
		floor := s.modules / 4
		if *full {
			floor = 1_400
		}
		if *only == "" && !t.Failed() && s.moved < floor {
			t.Errorf("%s>%s: below the floor: %d modules moved", pairs[i][0], pairs[i][1], s.moved)
		}
	}
}
