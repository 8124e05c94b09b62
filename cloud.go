package clonecloud

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/runner"
)

// Cloud is where clones live. Its implementations are in this package.
type Cloud interface {
	// join completes a run's configuration with the way to a node.
	join(rc *runner.Config) error
	// speed is how many times faster than this device, with the given engine, its clones probably are.
	speed(device engine.Engine) float64
	// prepare begins to connect, since the run will want a clone.
	prepare(ctx context.Context)
	// leave takes what a run has learned.
	leave(r *runner.Result)
	// lessons is where what runs learn of their programs is kept, and what is known of the link.
	lessons() (learned.Store, device.Situation)
	// Close ends the clones.
	Close() error
}

// LocalCloudConfig describes a cloud on this machine. The zero value is ready.
type LocalCloudConfig struct {
	// Engine runs the clones' code. Default: all compilers that there are, as in a NodeConfig.
	Engine EngineKind
	// CacheDir keeps modules and compiled code; "" keeps none.
	CacheDir string
	// MemoryDir keeps what runs learn of their programs, so that later ones decide better; "" keeps nothing.
	MemoryDir string
	// Worker is the command of a worker process, which must call [RunWorker] at once: the clones then live in a node of
	// their own on the loopback interface, as they would on another machine. nil: they live in this process.
	Worker []string
	// Link is the kind of network that the way to such a node is to be like: a name of [LinkProfiles]. Default: as it is.
	Link string
	// Log is told, in one line each, what a person may want to know. Default: nothing.
	Log func(format string, args ...any)
}

// LinkProfiles returns the names of the kinds of network that [LocalCloudConfig.Link] knows, from fast to slow.
func LinkProfiles() []string { return link.Profiles() }

// NewLocalCloud returns a cloud on this machine: for trying things, for tests, and for devices whose own engine is
// slower than another that the same machine has. Device and clone have nothing in common but a link: a TLS connection to
// a worker process, or within this process an in-memory link that carries the same messages.
func NewLocalCloud(cfg LocalCloudConfig) Cloud {
	if len(cfg.Worker) > 0 {
		return &localNode{cfg: cfg}
	}
	return &localCloud{cfg: cfg}
}

type localCloud struct {
	cfg  LocalCloudConfig
	once sync.Once
	host *clone.Host
	err  error
}

func (c *localCloud) open() error {
	c.once.Do(func() {
		list, err := newNodeEngines(c.cfg.Engine, c.cfg.CacheDir)
		if err != nil {
			c.err = err
			return
		}
		c.host = &clone.Host{Engines: list, Log: c.cfg.Log}
	})
	return c.err
}

func (c *localCloud) join(rc *runner.Config) error {
	if err := c.open(); err != nil {
		return err
	}
	rc.CanonicalNaN = rc.Engine.Name() != c.host.Engines[0].Name()
	rc.Peer = peer.Config{}
	rc.Dial = func(context.Context) (link.Link, error) {
		here, there := link.Pipe(0)
		go c.host.Accept(context.Background(), there)
		return here, nil
	}
	return nil
}

func (c *localCloud) speed(device engine.Engine) float64 {
	return engineSpeed(c.host.Engines[0].Name()) / engineSpeed(device.Name())
}

func (c *localCloud) prepare(context.Context) {}

func (c *localCloud) lessons() (learned.Store, device.Situation) {
	return c.cfg.lessons(), device.Situation{}
}

// lessons has a directory of its own for each kind of link.
func (c LocalCloudConfig) lessons() learned.Store {
	if c.MemoryDir == "" {
		return learned.Store{}
	}
	return learned.Store{Dir: filepath.Join(c.MemoryDir, strings.TrimSuffix("local-"+c.Link, "-"))}
}

func (c *localCloud) leave(*runner.Result) {}

// Close implements Cloud.
func (c *localCloud) Close() error {
	if c.open() != nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.Background(), closePatience)
	defer stop()
	if err := c.host.Close(ctx); err != nil {
		return err
	}
	var errs []error
	for _, e := range c.host.Engines {
		errs = append(errs, e.Close(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// closePatience is how long a clone's code may take to stop.
const closePatience = time.Second
