package choose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// MaxFigures bounds the figures of a module, in bytes.
const MaxFigures = 64 << 10

// figuresVersion is that of the form below.
const figuresVersion = 1

// kept is how figures are written down.
type kept struct {
	Version int           `json:"version"`
	Now     string        `json:"now"` // the engine in use
	Used    time.Duration `json:"used_ns"`
	Runs    float64       `json:"runs"`
	Recent  time.Duration `json:"recent_ns"`
	Engines []keptEngine  `json:"engines"`
}

type keptEngine struct {
	ID      string        `json:"id"`
	Refusal string        `json:"refusal,omitempty"`
	Failed  bool          `json:"failed,omitempty"`
	Trials  int           `json:"trials,omitempty"`
	At      time.Duration `json:"at_ns,omitempty"`
	Funcs   []keptFigures `json:"functions,omitempty"`
}

type keptFigures struct {
	Func  uint32        `json:"function"`
	Polls float64       `json:"polls"`
	Time  time.Duration `json:"time_ns"`
}

// errFigures marks figures that no module has.
var errFigures = errors.New("not the figures of a module")

// Encode writes the figures down, for Load. A trial that runs counts as begun.
func (m *Module) Encode() ([]byte, error) {
	k := kept{Version: figuresVersion, Used: m.used, Runs: m.runs, Recent: m.recent}
	if m.now >= 0 && m.now < len(m.engines) {
		k.Now = m.engines[m.now].id
	}
	for _, e := range m.engines {
		l := keptEngine{ID: e.id, Refusal: e.refusal, Failed: e.failed, Trials: e.trials, At: e.at}
		if e.trying {
			l.At = m.used
		}
		for f, g := range e.funcs {
			l.Funcs = append(l.Funcs, keptFigures{f, g.polls, g.time})
		}
		slices.SortFunc(l.Funcs, func(a, b keptFigures) int { return int(int64(a.Func) - int64(b.Func)) })
		k.Engines = append(k.Engines, l)
	}
	b, err := json.Marshal(k)
	if err == nil && len(b) > MaxFigures {
		err = fmt.Errorf("%d bytes, limit %d", len(b), MaxFigures)
	}
	if err != nil {
		return nil, fmt.Errorf("encode figures of engines: %w", err)
	}
	return b, nil
}

// Load takes in what Encode wrote, of the engines that are here. After an error nothing has changed.
func (m *Module) Load(data []byte) error {
	if len(data) > MaxFigures {
		return fmt.Errorf("%w: %d bytes, limit %d", errFigures, len(data), MaxFigures)
	}
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return fmt.Errorf("%w: %w", errFigures, err)
	}
	if err := k.check(); err != nil {
		return err
	}
	m.used, m.runs, m.recent = k.Used, k.Runs, k.Recent
	for _, l := range k.Engines {
		i := slices.IndexFunc(m.engines, func(e *engine) bool { return e.id == l.ID })
		if i < 0 {
			continue
		}
		e := &engine{id: l.ID, refusal: l.Refusal, failed: l.Failed, trials: l.Trials, at: l.At, funcs: map[uint32]*figures{}}
		for _, f := range l.Funcs {
			e.funcs[f.Func] = &figures{f.Polls, f.Time}
		}
		m.engines[i] = e
		if l.ID == k.Now {
			m.now = i
		}
	}
	return nil
}

// The most that figures may say, so that sums stay in range.
const (
	maxText  = 256
	maxTime  = 100 * 365 * 24 * time.Hour
	maxRuns  = 1e15
	maxPolls = 1e18
)

// check refuses figures that cannot be reckoned with.
func (k *kept) check() error {
	within := func(v, most float64) bool { return v >= 0 && v <= most && !math.IsNaN(v) }
	if k.Version != figuresVersion {
		return fmt.Errorf("%w: version %d", errFigures, k.Version)
	}
	if len(k.Engines) > MostEngines || k.Used < 0 || k.Used > maxTime || k.Recent < 0 || k.Recent > maxTime || !within(k.Runs, maxRuns) || k.Runs > 0 && k.Runs < 1e-3 {
		return fmt.Errorf("%w: totals out of range", errFigures)
	}
	for n, e := range k.Engines {
		if len(e.ID) > maxText || len(e.Refusal) > maxText || e.Trials < 0 || e.Trials > 1<<30 || e.At < 0 || e.At > k.Used || len(e.Funcs) > mostFuncs {
			return fmt.Errorf("%w: engine %d out of range", errFigures, n)
		}
		for i, f := range e.Funcs {
			if !within(f.Polls, maxPolls) || f.Time < 0 || f.Time > maxTime || i > 0 && f.Func <= e.Funcs[i-1].Func {
				return fmt.Errorf("%w: function %d of engine %d out of range", errFigures, i, n)
			}
		}
	}
	return nil
}
