package clonecloud

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/node"
)

// NodeConfig says what a node is to be. The zero value is an ephemeral one on the usual port.
type NodeConfig struct {
	// Listen is the address of its one TCP port. Default ":7311".
	Listen string
	// StateDir keeps what outlives the node: its authority and token, modules and compiled code. "": all of it is made anew.
	StateDir string
	// CacheDir keeps modules and compiled code in place of StateDir. Several nodes may share it.
	CacheDir string
	// Files is where files of devices are kept, encrypted: a folder, or "s3://ENDPOINT/BUCKET/PREFIX". Default: in StateDir.
	Files string
	// Advertise is the host:port that devices are told. Default: Listen, an unspecified host replaced by an address of this
	// machine.
	Advertise string
	// Worker is the command of a worker process, which must call RunWorker at once. Default: this executable with the
	// argument "worker".
	Worker []string
	// Warm is how many workers are kept ready. Default 1; less than 0: none.
	Warm   int
	Limits NodeLimits
	// Grace is how long a clone outlives its link (default 2 min), Idle how long a worker without conversations is kept for
	// its device (10 min), Drain how long Drain lets running offloads finish (30 s).
	Grace, Idle, Drain time.Duration
	// Relay copies bytes to workers even where connections can be passed to them.
	Relay bool
	// Engine is the one of the clones. Default: all compilers that there are, of which each module gets the one that is
	// measured to be the fastest for it.
	Engine EngineKind
	// Log is told, in one line each, what a person may want to know; nothing in it is secret. Default: nothing.
	Log func(format string, args ...any)
}

// NodeLimits bound what the devices of a node may use. Zero fields have defaults.
type NodeLimits = node.Limits

// Node is a running node: a daemon within this process, and worker processes that hold the clones.
type Node struct{ n *node.Node }

// StartNode starts a node, and returns when devices can come. ctx bounds the start only.
func StartNode(ctx context.Context, cfg NodeConfig) (*Node, error) {
	if err := cfg.Engine.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	n, err := node.Start(ctx, node.Config{
		Listen: cfg.Listen, State: cfg.StateDir, Cache: cfg.CacheDir, Files: cfg.Files, Advertise: cfg.Advertise, Worker: cfg.Worker, Warm: cfg.Warm,
		Limits: cfg.Limits, Grace: cfg.Grace, Idle: cfg.Idle, Drain: cfg.Drain, Relay: cfg.Relay, Engine: string(cfg.Engine), Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	return &Node{n}, nil
}

// Address is what a device needs to reach the node, for [RemoteCloudConfig]. It holds the node's secret.
func (n *Node) Address() string { return n.n.Address().String() }

// Addr is the address that the node listens on.
func (n *Node) Addr() net.Addr { return n.n.Addr() }

// Status says what the node is doing.
func (n *Node) Status() NodeStatus { return NodeStatus{Status: n.n.Status()} }

// Drain ends the node in peace: it takes no new devices, lets running offloads finish for as long as NodeConfig.Drain
// says, and then ends everything. Devices go on alone; no run fails.
func (n *Node) Drain(ctx context.Context) error { return n.n.Drain(ctx) }

// Close ends the node at once.
func (n *Node) Close() error {
	n.n.Close()
	return nil
}

// RunWorker is the main function of a worker's process; it returns the exit code.
func RunWorker() int {
	return node.WorkerMain(node.Engines{Kinds: nodeKinds, New: func(kind, cacheDir string) (engine.Engine, error) {
		return newEngine(EngineKind(kind), cacheDir)
	}})
}
