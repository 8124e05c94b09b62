package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
)

// nodeOptions are the flags of node.
type nodeOptions struct {
	cfg         clonecloud.NodeConfig
	json        bool
	engine      string
	addressFile string
}

func (o *nodeOptions) addFlags(f *pflag.FlagSet) {
	c, l := &o.cfg, &o.cfg.Limits
	f.StringVar(&c.Listen, "listen", ":7311", "the `address` of its one TCP port")
	f.StringVar(&c.StateDir, "state", "", "keep authority, token, modules and compiled code in `directory`; without, all is made anew")
	f.StringVar(&c.Files, "files", "", "keep files of devices, encrypted, in `place`: a directory, or s3://ENDPOINT/BUCKET/PREFIX (in --state)")
	f.StringVar(&o.addressFile, "address-file", "", "write the address to `file`, readable by its owner alone, in place of standard output")
	f.StringVar(&c.Advertise, "advertise", "", "the `host:port` that devices are told (the one listened on)")
	f.StringVar(&o.engine, "engine", "", "the `engine` of clones: wasmtime, compiler or interpreter (all compilers of this binary, each module on the fastest for it)")
	f.IntVar(&c.Warm, "warm", 1, "`how many` workers are kept ready; -1: none")
	f.DurationVar(&c.Grace, "grace", 2*time.Minute, "how long a clone outlives its link")
	f.DurationVar(&c.Idle, "idle", 10*time.Minute, "how long a worker is kept for a device that has nothing to do")
	f.DurationVar(&c.Drain, "drain", 30*time.Second, "how long running offloads may take to finish at SIGTERM")
	f.BoolVar(&c.Relay, "relay", false, "copy bytes to workers even where connections can be passed to them")
	f.IntVar(&l.Devices, "limit-devices", 0, "devices served at once, one worker each (256)")
	f.IntVar(&l.Clones, "limit-clones", 0, "clones of one device (32)")
	f.IntVar(&l.Links, "limit-links", 0, "connections of one device (64)")
	f.Var((*size)(&l.Memory), "limit-memory", "linear memory of one clone, e.g. 512MiB (1GiB)")
	f.Var((*size)(&l.WorkerMemory), "limit-worker-memory", "resident memory of one worker (3GiB)")
	f.DurationVar(&l.Exec, "limit-exec", 0, "time in the program of one offload (10m)")
	f.DurationVar(&l.Wall, "limit-wall", 0, "time of one offload, with waiting for the device (1h)")
	f.DurationVar(&l.Compile, "limit-compile", 0, "time to compile one module (2m)")
	f.Var((*size)(&l.Output), "limit-output", "bytes of output of one offload (4GiB)")
	f.Var((*size)(&l.Modules), "limit-modules", "modules on disk (4GiB)")
	f.Var((*size)(&l.Code), "limit-code", "compiled code on disk (8GiB)")
	f.Var((*size)(&l.Files), "limit-files", "kept files of the devices of one tenant (32GiB)")
	f.Var((*size)(&l.Written), "limit-written", "bytes that one offload may write to files (16GiB)")
}

func newNodeCommand() *cobra.Command {
	var o nodeOptions
	cmd := &cobra.Command{
		Use:   "node [flags]",
		Short: "Be a node: hold clones for devices",
		Long: `Be a node: hold clones for devices. The node prints its address, which is all that a device needs, and a secret; give it
to devices by "clonecloud cloud add".

SIGTERM and ctrl-C drain it: no new devices, running offloads finish or fall back, no run fails. A second one ends it
at once.`,
		Example: `  clonecloud node --state /var/lib/clonecloud`,
		Args:    exactly(0, "it takes no arguments"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNode(cmd, &o) },
	}
	addJSON(cmd, &o.json)
	o.addFlags(cmd.Flags())
	complete(cmd, "engine", completeEngine)
	complete(cmd, "state", folders)
	return cmd
}

// nodeVersion is the schema version of what node writes as JSON.
const nodeVersion = 1

// form is what the node prints when it is ready, in one line.
func (o *nodeOptions) form(n *clonecloud.Node) string {
	if !o.json {
		return n.Address()
	}
	return oneLineJSON(struct {
		Version int    `json:"version"`
		Address string `json:"address"` // with its secret
		Listen  string `json:"listen"`
	}{nodeVersion, n.Address(), n.Addr().String()})
}

// nodeLog writes what a node says, a line each.
func nodeLog(stderr io.Writer, asJSON bool) func(format string, args ...any) {
	if !asJSON {
		return func(format string, args ...any) {
			fmt.Fprintf(stderr, "%s "+format+"\n", append([]any{time.Now().Format("2006-01-02 15:04:05.000")}, args...)...)
		}
	}
	return func(format string, args ...any) {
		fmt.Fprintln(stderr, oneLineJSON(struct {
			Version int       `json:"version"`
			Time    time.Time `json:"time"`
			Message string    `json:"message"`
		}{nodeVersion, time.Now().UTC(), fmt.Sprintf(format, args...)}))
	}
}

func runNode(cmd *cobra.Command, o *nodeOptions) error {
	stderr := cmd.ErrOrStderr()
	if err := checkEngine(cmd, "--engine", o.engine); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(o.cfg.Listen); err != nil {
		return usageError{cmd, fmt.Sprintf("--listen %q: host:port is wanted, such as :7311 or 127.0.0.1:7311", o.cfg.Listen)}
	}
	cfg := o.cfg
	cfg.Engine = clonecloud.EngineKind(o.engine)
	cfg.Worker = workerCommand()
	cfg.Log = nodeLog(stderr, o.json)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	first := make(chan os.Signal, 1)
	go func() {
		select {
		case s := <-signals:
			first <- s
			stop(interrupted{s}) // of a start that takes long
		case <-ctx.Done():
		}
	}()
	n, err := clonecloud.StartNode(ctx, cfg)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	defer n.Close()
	cfg.Log("listening on %v", n.Addr())
	if err := giveAddress(cmd.OutOrStdout(), o.addressFile, o.form(n)); err != nil {
		return err
	}
	select {
	case <-first:
	case <-cmd.Context().Done():
	}
	drain, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go func() {
		select {
		case <-signals:
			end()
		case <-drain.Done():
		}
	}()
	if err := n.Drain(drain); err != nil && !errors.Is(err, context.Canceled) {
		cfg.Log("%v", err)
	}
	return nil
}

// workerCommand is what starts a worker process.
func workerCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "worker"}
}

func newWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Hold the clones of one device; a node starts it",
		Hidden: true,
		Args:   exactly(0, "it takes no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if code := clonecloud.RunWorker(); code != 0 {
				return errors.New("the worker failed")
			}
			return nil
		},
	}
}
