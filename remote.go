package clonecloud

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/gauge"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/node"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// ErrAddress marks an address of a node that cannot be used.
var ErrAddress = errors.New("not an address of a node")

// RemoteCloudConfig describes a cloud on another machine. Only Address is needed.
type RemoteCloudConfig struct {
	// Address is what a node prints when it starts: clonecloud://HOST:PORT/?token=...&cert=sha256:... It holds a secret.
	Address string
	// DeviceFile keeps this device's identity; it is made if need be. A node keeps the clones of an identity warm between
	// runs, for whoever has it. "": an identity for this Cloud alone.
	DeviceFile string
	// MemoryDir keeps what runs learn of the cloud, so that later ones start faster; "": nothing is kept.
	MemoryDir string
	// DialTCP makes connections in place of the system, for proxies. Optional.
	DialTCP func(ctx context.Context, address string) (net.Conn, error)
}

// NewRemoteCloud returns a cloud on another machine. Nothing is sent yet: a cloud that cannot be reached, or refuses,
// is no error of a run, which then stays on the device and says so.
func NewRemoteCloud(cfg RemoteCloudConfig) (Cloud, error) {
	c, err := newRemoteCloud(cfg)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func newRemoteCloud(cfg RemoteCloudConfig) (*remoteCloud, error) {
	addr, err := trust.ParseAddress(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	c := &remoteCloud{node: &remote.Node{Address: addr, DialTCP: cfg.DialTCP}, memory: remote.OpenMemory(cfg.MemoryDir, addr.Pin)}
	if cfg.DeviceFile == "" {
		c.node.Device = trust.NewSecret()
	} else if c.node.Device, err = trust.DeviceKey(cfg.DeviceFile); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

type remoteCloud struct {
	node *remote.Node

	mu     sync.Mutex     // runs may share a cloud
	memory *remote.Memory // guarded by mu
	peer   peer.Config
}

func (c *remoteCloud) join(rc *runner.Config) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	facts := c.memory.Facts
	// NaNs have native bits only where device and clone are known to be alike; the node's word in its greeting is held
	// against that.
	rc.Alike = engines.Alike(facts.Engine, rc.Engine.Name()) && facts.Arch == runtime.GOARCH
	rc.CanonicalNaN = !rc.Alike
	rc.Peer = c.peer
	rc.Dial, rc.FilesKey = c.node.Connect, c.node.FilesKey()
	rc.FilesPeer = fmt.Sprintf("%x %x", c.node.Address.Pin, sha256.Sum256(rc.FilesKey[:]))
	rc.Recall = func(code wire.ID) *device.Known {
		if facts.Engine == "" {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return &device.Known{
			Engine: facts.Engine, Arch: facts.Arch, Warm: c.memory.IsWarm(code, time.Now()),
			RTT: facts.RTT, Rate: facts.Rates[device.NetworkClass(facts.RTT)], Rates: facts.Rates,
		}
	}
	return nil
}

// speed is how many times faster than this device the clones probably are.
func (c *remoteCloud) speed(eng engine.Engine) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.memory.Facts
	s := engineSpeed(cmp.Or(f.Engine, compilerName)) / engineSpeed(eng.Name())
	if f.Speed == 0 {
		return 2 * s // whoever names a cloud has a reason
	}
	there, here := f.Speed, f.DeviceSpeed
	if here == 0 {
		here = gauge.Speed()
		_ = c.memory.Learn(func(l *remote.Facts) { l.DeviceSpeed = here }) // which reads what f points to anew
	}
	return s * there / here
}

func (c *remoteCloud) lessons() (learned.Store, device.Situation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.memory.Facts
	return learned.Store{Dir: c.memory.Dir()}, device.Situation{Ready: true, RTT: f.RTT, Rate: f.Rates[device.NetworkClass(f.RTT)]}
}

// prepare begins to connect.
func (c *remoteCloud) prepare(ctx context.Context) { c.node.Prepare(ctx) }

func (c *remoteCloud) leave(r *runner.Result) {
	c.node.Abandon()
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := r.Learned; k != nil {
		// What cannot be kept makes the next run slower and is no error of this one.
		_ = c.memory.Learn(func(f *remote.Facts) {
			f.Engine, f.Arch = k.Engine, k.Arch
			f.Speed = cmp.Or(k.Speed, f.Speed)
			f.SetLink(k.RTT, device.NetworkClass(k.RTT), k.Rate)
			f.SetWarm(r.Code, k.Warm, time.Now())
		})
	}
}

// Close implements Cloud.
func (c *remoteCloud) Close() error {
	c.node.Abandon()
	return nil
}

// NodeStatus is what a node says of itself, see [QueryNode].
type NodeStatus struct {
	node.Status
	// RTT is how long a round trip to the node took.
	RTT time.Duration `json:"rtt_ns,omitempty"`
}

// QueryNode asks the node behind an address how it is, and keeps in memoryDir what runs can use of the answer ("": nothing).
func QueryNode(ctx context.Context, cfg RemoteCloudConfig) (NodeStatus, error) {
	var s NodeStatus
	c, err := newRemoteCloud(cfg)
	if err != nil {
		return s, err
	}
	if s.RTT, err = c.node.Status(ctx, &s); err != nil {
		return s, err
	}
	if s.Protocol != wire.Version {
		return s, fmt.Errorf("the node speaks version %d of the protocol, this program %d", s.Protocol, wire.Version)
	}
	if err := node.CheckStatus(&s.Status); err != nil {
		return s, err
	}
	_ = c.memory.Learn(func(f *remote.Facts) {
		f.Engine, f.Arch, f.Speed = s.Engine, s.Arch, s.Speed
		f.SetLink(s.RTT, device.NetworkClass(s.RTT), 0)
	})
	return s, nil
}
