package remote

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// Memory is what a device has learned of one node: a small JSON file. What is in it makes runs faster and nothing
// else: a file that is damaged, or that cannot be written, is as good as none.
type Memory struct {
	path string
	Facts
}

// Facts are the contents of a Memory. Changing their meaning wants another Version.
type Facts struct {
	Version     int     `json:"version"`
	Engine      string  `json:"engine,omitempty"`
	Arch        string  `json:"arch,omitempty"`
	Speed       float64 `json:"speed,omitempty"`        // of the node, see package gauge
	DeviceSpeed float64 `json:"device_speed,omitempty"` // of this device
	// RTT is a round trip on the network that was used last; Rates are bytes per second, by a number for the kind of network.
	RTT   time.Duration   `json:"rtt_ns,omitempty"`
	Rates map[int]float64 `json:"rates,omitempty"`
	// Warm are the programs whose code was in place at the time given, by identity of their code.
	Warm map[string]time.Time `json:"warm,omitempty"`
}

const (
	factsVersion = 2
	maxFacts     = 256 << 10
	maxWarm      = 256
	maxNetworks  = 64
	// warmFor is how long a node can be taken to have a program's code in place.
	warmFor = 8 * time.Minute
)

// OpenMemory reads the memory of the node with the given pin from a directory; "": nothing is kept.
func OpenMemory(dir string, pin [32]byte) *Memory {
	m := &Memory{}
	if dir == "" {
		return m
	}
	m.path = filepath.Join(dir, hex.EncodeToString(pin[:16])+".json")
	m.load()
	return m
}

func (m *Memory) load() {
	m.Facts = Facts{}
	b, err := os.ReadFile(m.path)
	if err == nil && len(b) <= maxFacts && (json.Unmarshal(b, &m.Facts) != nil || m.Version != factsVersion) {
		m.Facts = Facts{}
	}
}

// IsWarm tells whether the code of a program is likely to be in place.
func (m *Memory) IsWarm(code wire.ID, now time.Time) bool {
	at, ok := m.Warm[hex.EncodeToString(code[:])]
	return ok && now.Sub(at) < warmFor && now.After(at.Add(-time.Second))
}

// Learn keeps what change makes of what is known. Other processes may have kept something meanwhile: change is given
// that.
func (m *Memory) Learn(change func(*Facts)) error {
	if m.path != "" {
		m.load()
	}
	m.Version = factsVersion
	change(&m.Facts)
	if m.path == "" {
		return nil
	}
	b, err := json.Marshal(m.Facts)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	return atomicfile.Write(m.path, b, 0o600)
}

// SetWarm notes whether the code of a program is in place.
func (f *Facts) SetWarm(code wire.ID, warm bool, now time.Time) {
	for k, at := range f.Warm {
		if now.Sub(at) >= warmFor || len(f.Warm) > maxWarm {
			delete(f.Warm, k)
		}
	}
	key := hex.EncodeToString(code[:])
	if delete(f.Warm, key); !warm {
		return
	}
	if f.Warm == nil {
		f.Warm = map[string]time.Time{}
	}
	f.Warm[key] = now
}

// SetLink notes what the link was like: a round trip and bytes per second, each 0 if it was not measured, on a kind of
// network.
func (f *Facts) SetLink(rtt time.Duration, network int, rate float64) {
	if rtt <= 0 {
		return
	}
	f.RTT = rtt
	if rate <= 0 {
		return
	}
	rates := map[int]float64{} // runs that are under way may have the old one
	if len(f.Rates) <= maxNetworks {
		maps.Copy(rates, f.Rates)
	}
	rates[network] = rate
	f.Rates = rates
}

// Dir is where more can be kept of the node, "" if nothing is to be.
func (m *Memory) Dir() string { return strings.TrimSuffix(m.path, ".json") }

// Forget removes what is kept.
func (m *Memory) Forget() error {
	if m.path == "" {
		return nil
	}
	if err := os.RemoveAll(m.Dir()); err != nil {
		return fmt.Errorf("forget what was learned: %w", err)
	}
	if err := os.Remove(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was learned: %w", err)
	}
	return nil
}
