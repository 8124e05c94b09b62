package clonecloud

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/faultproxy"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/runner"
)

// localNode is a cloud that is a node of its own on the loopback interface. It is started beside the first run that
// wants it, and ends with Close.
type localNode struct {
	cfg LocalCloudConfig

	named sync.Once
	// filesKey is that of the files in the folder that goes with the node.
	filesKey [32]byte
	engine   string // of the clones, unless another turns out to be faster
	unnamed  error  // why it is not known

	once   sync.Once
	cancel context.CancelFunc // of the start; set once ready is
	ready  chan struct{}      // closed when node and remote, or err, are there
	node   *Node
	proxy  *faultproxy.Proxy // nil: the way is as it is
	remote *remoteCloud
	err    error
}

func (c *localNode) join(rc *runner.Config) error {
	if c.cfg.Link != "" {
		if _, err := link.LookupProfile(c.cfg.Link); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	c.named.Do(func() {
		_, _ = rand.Read(c.filesKey[:]) // which never fails
		var eng engine.Engine
		if eng, c.unnamed = newEngine(EngineKind(nodeKinds(string(c.cfg.Engine))[0]), ""); c.unnamed == nil {
			c.engine = eng.Name()
			eng.Close(context.Background())
		}
	})
	if c.unnamed != nil {
		return c.unnamed
	}
	rc.Alike = rc.Engine.Name() == c.engine
	rc.CanonicalNaN = !rc.Alike
	rc.Peer = peer.Config{}
	rc.FilesKey = c.filesKey
	rc.Dial = func(ctx context.Context) (link.Link, error) {
		select {
		case <-c.start():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err != nil {
			return nil, c.err
		}
		return c.remote.node.Connect(ctx)
	}
	return nil
}

// start begins to start the node.
func (c *localNode) start() <-chan struct{} {
	c.once.Do(func() {
		c.ready = make(chan struct{})
		var ctx context.Context
		ctx, c.cancel = context.WithCancel(context.Background())
		go func() {
			defer close(c.ready)
			c.err = c.open(ctx)
		}()
	})
	return c.ready
}

func (c *localNode) open(ctx context.Context) error {
	var err error
	c.node, err = StartNode(ctx, NodeConfig{
		Listen: "127.0.0.1:0", CacheDir: c.cfg.CacheDir, Worker: c.cfg.Worker, Engine: c.cfg.Engine, Log: c.cfg.Log,
		Limits: NodeLimits{Devices: 1},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", peer.ErrHopeless, err)
	}
	cfg := RemoteCloudConfig{Address: c.node.Address()}
	if c.cfg.Link != "" {
		if cfg.DialTCP, err = c.shape(); err != nil {
			return err
		}
	}
	c.remote, err = newRemoteCloud(cfg)
	return err
}

// shape puts a network of the wanted kind between device and node.
func (c *localNode) shape() (func(ctx context.Context, address string) (net.Conn, error), error) {
	profile, err := link.LookupProfile(c.cfg.Link)
	if err != nil {
		return nil, err
	}
	if c.proxy, err = faultproxy.Start(faultproxy.Config{Target: c.node.Addr().String(), Profile: profile}); err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", c.proxy.Addr())
	}, nil
}

func (c *localNode) speed(device engine.Engine) float64 {
	return engineSpeed(c.engine) / engineSpeed(device.Name())
}

func (c *localNode) prepare(context.Context) { c.start() }

func (c *localNode) lessons() (learned.Store, device.Situation) {
	return c.cfg.lessons(), device.Situation{}
}

func (c *localNode) leave(*runner.Result) {}

// Close implements Cloud.
func (c *localNode) Close() error {
	started := true
	c.once.Do(func() { started = false })
	if !started {
		return nil
	}
	c.cancel() // a short run does not wait for what it did not need
	<-c.ready
	if c.remote != nil {
		c.remote.Close()
	}
	if c.node != nil {
		c.node.Close()
	}
	if c.proxy != nil {
		return c.proxy.Close()
	}
	return nil
}
