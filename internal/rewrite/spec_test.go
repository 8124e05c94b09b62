package rewrite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

const features = api.CoreFeaturesV2 | experimental.CoreFeaturesThreads | experimental.CoreFeaturesTailCall |
	experimental.CoreFeaturesExtendedConst | experimental.CoreFeaturesExceptionHandling |
	experimental.CoreFeaturesTypedFunctionReferences

// corpus is where the module cache keeps wazero, whose test data are the specification's own tests and more.
func corpus(t testing.TB) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("no module cache: %v", err)
	}
	return dir
}

// script is one file of the specification's tests.
type script struct {
	dir      string
	Source   string    `json:"source_filename"`
	Commands []command `json:"commands"`
}

type command struct {
	Type     string `json:"type"`
	Line     int    `json:"line"`
	Name     string `json:"name"`
	Filename string `json:"filename"`
	As       string `json:"as"`
	Action   struct {
		Type   string  `json:"type"`
		Field  string  `json:"field"`
		Module string  `json:"module"`
		Args   []value `json:"args"`
	} `json:"action"`
	Expected   []value `json:"expected"`
	ModuleType string  `json:"module_type"`
}

type value struct {
	Type  string `json:"type"`
	Lane  string `json:"lane_type"`
	Value any    `json:"value"`
}

// raw is the value in 64-bit slots. An expectation that is only a kind of NaN has no slots.
func (v value) raw() (slots []uint64, ok bool) {
	lanes, width := []any{v.Value}, 64
	if v.Type == "v128" {
		lanes = v.Value.([]any)
		width = 128 / len(lanes)
		slots = make([]uint64, 2)
	} else {
		slots = make([]uint64, 1)
		if strings.Contains(v.Type, "32") {
			width = 32
		}
	}
	for i, lane := range lanes {
		s, _ := lane.(string)
		if strings.HasPrefix(s, "nan:") {
			return nil, false
		}
		var u uint64
		switch {
		case s == "null" || s == "":
		case strings.HasPrefix(s, "-"):
			n, _ := strconv.ParseInt(s, 10, 64)
			u = uint64(n)
		default:
			u, _ = strconv.ParseUint(s, 10, 64)
		}
		if v.Type == "externref" && s != "null" {
			u++ // 0 is null to the engine
		}
		if width < 64 {
			u &= 1<<width - 1
		}
		slots[i*width/64] |= u << (i * width % 64)
	}
	return slots, true
}

// nanLanes tells apart the NaN expectations of a result: for each lane its width, or 0.
func (v value) nanLanes() []int {
	lanes, ok := v.Value.([]any)
	if !ok {
		lanes = []any{v.Value}
	}
	width := 32
	if v.Type == "f64" || v.Lane == "f64" {
		width = 64
	}
	w := make([]int, len(lanes))
	for i, lane := range lanes {
		if s, _ := lane.(string); strings.HasPrefix(s, "nan:") {
			w[i] = width
		}
	}
	return w
}

func scripts(t testing.TB) []*script {
	files, err := filepath.Glob(filepath.Join(corpus(t), "internal/integration_test/spectest/*/testdata/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all []*script
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := &script{dir: filepath.Dir(f)}
		if err := json.Unmarshal(raw, s); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all = append(all, s)
	}
	return all
}

func (s *script) String() string {
	return filepath.Base(filepath.Dir(s.dir)) + "/" + filepath.Base(s.Source)
}

// outcome is what a command of a script came to.
type outcome struct {
	err   string // the kind of trap or failure, "" for none
	slots []uint64
	types []api.ValueType
}

var trapKinds = []string{
	"out of bounds memory access", "invalid table access", "indirect call type mismatch", "integer overflow",
	"invalid conversion to integer", "integer divide by zero", "stack overflow", "unaligned atomic",
	"expected shared memory", "null reference", "uncaught exception", "unreachable",
}

func errKind(err error) string {
	if err == nil {
		return ""
	}
	for _, k := range trapKinds {
		if strings.Contains(err.Error(), k) {
			return k
		}
	}
	return err.Error()
}

// mode is how the modules of a script are run.
type mode struct {
	name     string
	opt      rewrite.Options // Candidates and SCC are filled in
	original bool            // not rewritten at all
	arm      bool
	enter    uint64
	fallBack bool // call.<id> answers so
	stop     bool // polls call out
	perturb  bool // arithmetic makes other NaNs
}

// tally counts what happened in a run over scripts.
type tally struct {
	modules, moved, stay                     int
	candidates, enters, leaves, calls, polls int
	detached                                 int // pieces of memory
	excluded                                 map[string]int
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d modules, %d rewritten, %d stay local; %d candidates, %d enters, %d leaves, %d calls, %d polls, %d pieces detached",
		c.modules, c.moved, c.stay, c.candidates, c.enters, c.leaves, c.calls, c.polls, c.detached)
	for _, k := range slices.Sorted(maps.Keys(c.excluded)) {
		s += fmt.Sprintf("\n    excluded %4d: %s", c.excluded[k], k)
	}
	return s
}

// machine runs a script in one mode.
type machine struct {
	*tally
	mode
	ctx       context.Context
	runtime   wazero.Runtime
	instances map[string]api.Module
	last      api.Module
	hosts     int
	depth     int // of call imports in progress
	local     int // bodies entered here and not left
	man       *rewrite.Manifest
	log       func(format string, args ...any) // of what the host is asked, or nil
}

func (k *machine) run(t *testing.T, s *script, config wazero.RuntimeConfig) []outcome {
	k.ctx = t.Context()
	k.runtime = wazero.NewRuntimeWithConfig(k.ctx, config.WithCoreFeatures(features))
	defer k.runtime.Close(k.ctx)
	k.instances = map[string]api.Module{}
	spectest, err := os.ReadFile(filepath.Join(s.dir, "../../testdata/spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.runtime.Instantiate(k.ctx, spectest); err != nil {
		t.Fatal(err)
	}
	outcomes := make([]outcome, len(s.Commands))
	for i := range s.Commands {
		c := &s.Commands[i]
		switch c.Type {
		case "module", "assert_uninstantiable", "assert_unlinkable", "assert_invalid":
			if c.ModuleType == "text" {
				continue
			}
			name := ""
			if i+1 < len(s.Commands) && s.Commands[i+1].Type == "register" {
				name = s.Commands[i+1].As
			}
			bin, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			sum := k.tally
			if c.Type != "module" && sum != nil { // not worth counting
				k.tally = &tally{excluded: map[string]int{}}
			}
			mod, err := k.instantiate(t, bin, name)
			k.tally = sum
			outcomes[i].err = errKind(err)
			if c.Type != "module" && err != nil {
				outcomes[i].err = "refused"
			}
			if c.Type == "module" {
				if k.last = mod; c.Name != "" {
					k.instances[c.Name] = mod
				}
			}
		case "action", "assert_return", "assert_trap", "assert_exhaustion", "assert_exception":
			outcomes[i] = k.act(c)
		}
	}
	return outcomes
}

func (k *machine) act(c *command) (out outcome) {
	m := k.last
	if c.Action.Module != "" {
		m = k.instances[c.Action.Module]
	}
	if m == nil {
		return outcome{err: "no module"}
	}
	if c.Action.Type == "get" {
		g := m.ExportedGlobal(c.Action.Field)
		return outcome{slots: []uint64{g.Get()}, types: []api.ValueType{g.Type()}}
	}
	f := m.ExportedFunction(c.Action.Field)
	var args []uint64
	for _, a := range c.Action.Args {
		slots, _ := a.raw()
		args = append(args, slots...)
	}
	k.local = 0 // a trap leaves nothing
	slots, err := f.Call(k.ctx, args...)
	out = outcome{err: errKind(err), slots: slots, types: f.Definition().ResultTypes()}
	at := 0
	for _, t := range out.types {
		switch {
		case at >= len(slots):
		case t == api.ValueTypeI32 || t == api.ValueTypeF32:
			slots[at] = uint64(uint32(slots[at]))
		case t < api.ValueTypeF64 && t != wasm.V128 && slots[at] != 0:
			slots[at] = 1 // an address
		}
		if at++; t == wasm.V128 {
			at++
		}
	}
	return out
}

func (k *machine) instantiate(t *testing.T, bin []byte, name string) (api.Module, error) {
	config := wazero.NewModuleConfig().WithName(name)
	if k.original {
		return k.runtime.InstantiateWithConfig(k.ctx, bin, config)
	}
	k.modules++
	// What the engine refuses as it is must be refused all the same.
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, err
	}
	opt := k.opt
	if opt.Candidates == nil {
		opt.SCC, opt.Candidates = components(m), k.choose(m)
	}
	res, err := rewrite.Rewrite(m, opt)
	if stay := (*rewrite.StayError)(nil); asStay(err, &stay) {
		k.stay++
		k.excluded["module: "+general(stay.Reason)]++
		return k.runtime.InstantiateWithConfig(k.ctx, bin, config)
	}
	if err != nil {
		return nil, err
	}
	k.man = &res.Manifest
	k.moved++
	k.candidates += len(res.Manifest.Candidates)
	if k.perturb {
		res.Binary = perturb(t, res.Binary)
	}
	host := k.host(t, &res.Manifest)
	ctx := experimental.WithImportResolver(k.ctx, func(name string) api.Module {
		if name == rewrite.Module {
			return host
		}
		return nil
	})
	mod, err := k.runtime.InstantiateWithConfig(ctx, res.Binary, config)
	if err != nil {
		return nil, err
	}
	for _, p := range res.Manifest.Image {
		k.detached++
		if !mod.ExportedMemory(res.Manifest.Memory).Write(uint32(p.Offset), p.Data) {
			t.Errorf("a piece of %d bytes at %d is not within the memory", len(p.Data), p.Offset)
		}
	}
	for _, c := range res.Manifest.Candidates {
		if k.arm {
			setArm(mod, c, true)
		}
	}
	if k.stop {
		mod.ExportedGlobal(res.Manifest.Stop).(api.MutableGlobal).Set(1)
	}
	if res.Manifest.Start != "" {
		if _, err := mod.ExportedFunction(res.Manifest.Start).Call(k.ctx); err != nil {
			mod.Close(k.ctx)
			return nil, err
		}
	}
	return mod, nil
}

// choose takes every function that may be a candidate.
func (k *machine) choose(m *wasm.Module) (candidates []uint32) {
	first := m.NumImportedFuncs()
	for i := range m.Funcs {
		f := uint32(first + i)
		t, ok := m.FuncType(f)
		switch {
		case !ok:
		case !rewrite.Carries(t):
			k.excluded["function: its type has references"]++
		case len(m.TagTypes()) > 0 && k.arm && k.enter == rewrite.EnterClone:
			k.excluded["function: exceptions may cross it"]++
		default:
			candidates = append(candidates, f)
		}
	}
	return candidates
}

// host offers a module what its manifest asks for, with the instance itself in the clone's place.
func (k *machine) host(t *testing.T, man *rewrite.Manifest) api.Module {
	k.hosts++
	name := fmt.Sprintf("host %d", k.hosts)
	b := k.runtime.NewHostModuleBuilder(name)
	fn := func(export string, params, results []byte, f func(context.Context, api.Module, []uint64)) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(f), params, results).Export(export)
	}
	one := []byte{wasm.I32}
	asked := map[uint64]int{}
	fn(rewrite.ImportEnter, one, one, func(_ context.Context, mod api.Module, stack []uint64) {
		k.enters++
		if id := stack[0]; asked[id] < 20_000 {
			asked[id]++
		} else { // for the sake of time
			setArm(mod, man.Candidates[id], false)
		}
		if k.log != nil {
			k.log("enter %d", stack[0])
		}
		stack[0] = k.enter
		if k.depth > 0 || k.local > 0 && man.TailCalls {
			stack[0] = rewrite.EnterPlain // a clone makes no calls of its own; the stack must not grow
		}
		if stack[0] == rewrite.EnterLocal {
			k.local++
		}
	})
	fn(rewrite.ImportLeave, one, nil, func(_ context.Context, _ api.Module, stack []uint64) {
		if k.log != nil {
			k.log("leave %d", stack[0])
		}
		k.leaves++
		k.local--
	})
	fn(rewrite.ImportPoll, nil, nil, func(_ context.Context, mod api.Module, _ []uint64) {
		if k.polls++; k.stop && k.polls%1000 != 0 { // for the sake of time
			mod.ExportedGlobal(man.Stop).(api.MutableGlobal).Set(1)
		}
	})
	for _, c := range man.Candidates {
		if c.Call == "" {
			continue
		}
		results := append(slices.Clone(c.Results), wasm.I32)
		fn(c.Call, c.Params, results, func(ctx context.Context, mod api.Module, stack []uint64) {
			k.calls++
			if k.log != nil {
				k.log("call %d %x", c.ID, stack[:len(c.Params)])
			}
			if k.fallBack {
				for i := range results {
					stack[i] = math.MaxUint64
				}
				stack[len(c.Results)] = rewrite.CallFallBack
				k.local++
				return
			}
			k.depth++
			defer func() { k.depth-- }()
			args := slices.Clone(stack[:len(c.Params)])
			out, err := mod.ExportedFunction(c.Body).Call(ctx, args...)
			if err != nil {
				panic(err)
			}
			stack[copy(stack, out)] = rewrite.CallDone
		})
	}
	compiled, err := b.Compile(k.ctx)
	if err != nil {
		t.Fatal(err)
	}
	host, err := k.runtime.InstantiateModule(k.ctx, compiled, wazero.NewModuleConfig().WithName(name))
	if err != nil {
		t.Fatal(err)
	}
	return host
}

func setArm(mod api.Module, c rewrite.Candidate, on bool) {
	g := mod.ExportedGlobal(c.Arm).(api.MutableGlobal)
	v := g.Get() &^ (1 << c.Bit)
	if on {
		v |= 1 << c.Bit
	}
	g.Set(v)
}
