// Package learned keeps what the runs of a program have learned, one small JSON file for each program on each cloud: what
// its functions take here and there, and what moving them moves. It makes later runs faster and nothing else: a file
// that is damaged, or that cannot be written, is as good as none.
package learned

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
)

// Mean is an exponentially weighted mean: the plain mean of the first values, then a quarter of each new one.
type Mean struct {
	V float64 `json:"v"`
	N int     `json:"n"`
}

// Add takes a value in.
func (m *Mean) Add(x float64) {
	m.N++
	m.V += (x - m.V) / math.Min(float64(m.N), 4)
}

// Function is what is known of one function. Times are in nanoseconds, sizes in bytes, each of one call.
type Function struct {
	Index uint32 `json:"index"` // in the original module
	Local Mean   `json:"local"` // time of a run on the device
	Exec  Mean   `json:"exec"`  // time of a run on a clone, without waiting for the device
	Up    Mean   `json:"up"`    // state that was sent
	Down  Mean   `json:"down"`  // state that came back; before any offload what a run on the device wrote
	Home  Mean   `json:"home"`  // calls that only the device can carry out
	Bytes Mean   `json:"bytes"` // input and output of these calls, and output
	// Failures counts the offloads that were given up since one succeeded.
	Failures int `json:"failures,omitempty"`
}

// Figures is what is known of a program.
type Figures struct {
	Used  time.Time     `json:"used"`
	Runs  int           `json:"runs"`
	Wall  Mean          `json:"wall"`            // of a whole run, in nanoseconds
	Guest Mean          `json:"guest"`           // from the program's first instruction to its end
	Ready time.Duration `json:"ready,omitempty"` // from its first instruction until a clone was ready, 0: not known
	// Vain counts the runs in a row in which no clone became ready in time, Skipped those that did not ask for one.
	Vain      int        `json:"vain,omitempty"`
	Skipped   int        `json:"skipped,omitempty"`
	Functions []Function `json:"functions"`
}

// file is the contents of a file. Changing their meaning wants another version.
type file struct {
	Version int      `json:"version"`
	Last    *Figures `json:"last"` // of the last run, whatever its arguments
	// ByArgs has the figures of runs with the same arguments, by a hash of these.
	ByArgs map[string]*Figures `json:"by_args"`
}

const (
	version      = 1
	maxFile      = 1 << 20
	maxArgs      = 8   // sets of arguments of a program
	maxPrograms  = 256 // files of a store
	maxFunctions = 4096
)

// Store is a directory with the figures of programs on one cloud. The zero Store keeps nothing.
type Store struct{ Dir string }

// Key names a program as it was run.
type Key struct {
	Module [32]byte // SHA-256 of the module
	Engine string   // of the device
	Args   []string
}

func (s Store) path(k Key) string {
	return filepath.Join(s.Dir, hex.EncodeToString(k.Module[:16])+"-"+strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, k.Engine)+".json")
}

// args is what stands for arguments: they may hold what should not be written down.
func (k Key) args() string {
	h := sha256.New()
	for _, a := range k.Args {
		fmt.Fprintf(h, "%d:%s", len(a), a)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Recall returns what is known of a program, nil if nothing is. Same says that it is from runs with the same
// arguments.
func (s Store) Recall(k Key) (f *Figures, same bool) {
	c := s.read(k)
	if f := c.ByArgs[k.args()]; f != nil {
		return f, true
	}
	return c.Last, false
}

func (s Store) read(k Key) *file {
	empty := &file{Version: version}
	if s.Dir == "" {
		return empty
	}
	path := s.path(k)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return empty
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return empty
	}
	c := &file{}
	if json.Unmarshal(b, c) != nil || c.Version != version || c.Last != nil && !c.Last.sound() || len(c.ByArgs) > maxArgs {
		return empty
	}
	for _, f := range c.ByArgs {
		if f == nil || !f.sound() {
			return empty
		}
	}
	return c
}

// sound tells whether the figures can be reckoned with.
func (f *Figures) sound() bool {
	means := []Mean{f.Wall, f.Guest}
	for _, fn := range f.Functions {
		if fn.Failures < 0 {
			return false
		}
		means = append(means, fn.Local, fn.Exec, fn.Up, fn.Down, fn.Home, fn.Bytes)
	}
	return f.Runs >= 0 && f.Ready >= 0 && f.Vain >= 0 && f.Skipped >= 0 && len(f.Functions) <= maxFunctions && !slices.ContainsFunc(means, func(m Mean) bool {
		return m.N < 0 || m.N == 0 && m.V != 0 || !(m.V >= 0) || math.IsInf(m.V, 0)
	})
}

// Learn keeps the figures of a run, which begin with what Recall gave.
func (s Store) Learn(k Key, f *Figures, now time.Time) error {
	if s.Dir == "" {
		return nil
	}
	c := s.read(k)
	f.Used = now
	c.Last = f
	if c.ByArgs == nil {
		c.ByArgs = map[string]*Figures{}
	}
	c.ByArgs[k.args()] = f
	for len(c.ByArgs) > maxArgs {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(c.ByArgs)), func(a, b string) int {
			return cmp.Or(c.ByArgs[a].Used.Compare(c.ByArgs[b].Used), strings.Compare(a, b))
		})
		delete(c.ByArgs, oldest)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	path := s.path(k)
	if _, err := os.Lstat(path); err != nil {
		atomicfile.MakeRoom(s.Dir, maxPrograms, maxPrograms-1, func(name string) bool { return strings.HasSuffix(name, ".json") })
	}
	return atomicfile.Write(path, b, 0o600)
}
