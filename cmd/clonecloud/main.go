// Command clonecloud runs WebAssembly programs whose expensive functions execute on a clone elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// Exit codes of our own; a guest's pass through. The table is in docs/manual.md.
const (
	exitDiverged    = 124 // a fallback did not repeat what its clone had done
	exitFailed      = 125 // clonecloud itself failed, or was used wrongly
	exitCannotRun   = 126 // not a module, or one that cannot run here
	exitNotFound    = 127 // the module's file is not there
	exitInterrupted = 130 // ctrl-C
	exitTrap        = 134 // the guest trapped
	exitTerminated  = 143 // SIGTERM
)

func main() { os.Exit(mainCode(os.Args[1:])) }

// mainCode runs the command line and returns the exit code.
func mainCode(args []string) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	go watchSignals(stop)
	root := newRoot()
	root.SetArgs(args)
	return report(root.ExecuteContext(ctx), ctx)
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return i.signal.String() }

func (i interrupted) code() int {
	if i.signal == syscall.SIGTERM {
		return exitTerminated
	}
	return exitInterrupted
}

// patience is how long a guest has to notice that it was stopped, before the process ends around it.
const patience = 500 * time.Millisecond

// watchSignals ends the run at the first ctrl-C or SIGTERM. Code of the guest that calls nothing does not notice;
// it ends with the process.
func watchSignals(stop context.CancelCauseFunc) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	s := <-c
	stop(interrupted{s})
	select {
	case <-c:
	case <-time.After(patience):
	}
	os.Exit(interrupted{s}.code())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "clonecloud",
		Short:         "Run programs on a weak device with their expensive functions on a clone in the cloud",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newRunCommand(), newAnalyzeCommand(), newDemoCommand(), newVersionCommand())
	return root
}

// usageError is a wrong use of the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// report maps how the command ended to an exit code, and says what went wrong, in one line.
func report(err error, ctx context.Context) int {
	if err == nil {
		return 0
	}
	var sig interrupted
	if errors.As(context.Cause(ctx), &sig) {
		return sig.code()
	}
	var exit *clonecloud.ExitError
	if errors.As(err, &exit) && !errors.Is(err, clonecloud.ErrDiverged) {
		return int(exit.Code)
	}
	fmt.Fprintln(os.Stderr, "clonecloud:", err)
	var trap *clonecloud.Trap
	var exc *clonecloud.Exception
	switch {
	case errors.Is(err, clonecloud.ErrDiverged):
		return exitDiverged
	case errors.As(err, &trap), errors.As(err, &exc):
		return exitTrap
	case errors.Is(err, clonecloud.ErrModule), errors.Is(err, clonecloud.ErrInvoke):
		return exitCannotRun
	case errors.Is(err, errNoModule):
		return exitNotFound
	}
	return exitFailed
}
