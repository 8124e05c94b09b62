package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

// Status is what a node is doing. Fields are only ever added.
type Status struct {
	Version  int               `json:"version"` // of this format: 1
	Protocol int               `json:"protocol"`
	Engine   string            `json:"engine"`  // that clones begin on
	Engines  []string          `json:"engines"` // all, that one first
	Arch     string            `json:"arch"`
	Speed    float64           `json:"speed"` // of the machine, see package gauge; only ratios mean something
	Started  time.Time         `json:"started"`
	Uptime   float64           `json:"uptime_s"`
	Draining bool              `json:"draining"`
	Relay    bool              `json:"relay"`
	Devices  int               `json:"devices"` // that a worker is kept for
	Links    int               `json:"links"`
	Clones   int               `json:"clones"`
	Running  int               `json:"running"` // offloads
	Workers  int               `json:"workers"` // processes, the warm ones included
	Memory   uint64            `json:"worker_memory"`
	Pending  int               `json:"pending"` // connections that have not said what they want
	Denied   int               `json:"denied_modules"`
	Refused  map[string]uint64 `json:"refused"` // connections by reason
	Limits   Limits            `json:"limits"`
}

// maxEngines is how many engines a device believes a node to have.
const maxEngines = 64

// CheckStatus holds what a node says of itself to what its greeting may say: a device shows it, and reckons with it.
func CheckStatus(s *Status) error {
	if len(s.Engines) > maxEngines {
		return fmt.Errorf("what the node says of itself cannot be: %d engines", len(s.Engines))
	}
	for _, e := range append([]string{s.Engine}, s.Engines...) {
		if err := (&wire.Welcome{Engine: e, Arch: s.Arch, Speed: s.Speed}).Validate(); err != nil {
			return fmt.Errorf("what the node says of itself cannot be: %w", err)
		}
	}
	return nil
}

// Status returns what the node is doing.
func (n *Node) Status() Status {
	now := time.Now()
	s := Status{
		Version: 1, Protocol: wire.Version, Started: n.started.Round(0), Speed: n.speed, Uptime: now.Sub(n.started).Seconds(), Relay: n.cfg.Relay,
		Pending: n.pending.Len(), Refused: n.refused.Snapshot(), Limits: n.cfg.Limits,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Engines, s.Arch, s.Draining, s.Denied = slices.Clone(n.engines), n.arch, n.draining, len(n.deny.Current(now))
	if len(s.Engines) > 0 {
		s.Engine = s.Engines[0]
	}
	for _, p := range n.processes() {
		p.mu.Lock()
		s.Workers++
		s.Memory += p.rss
		if p.serving {
			s.Devices++
			s.Links += p.stats.Links
			s.Clones += p.stats.Clones
			s.Running += p.stats.Running
		}
		p.mu.Unlock()
	}
	return s
}
