// Command clonecloud runs WebAssembly programs whose expensive functions execute on a clone elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// Exit codes of our own; a guest's pass through. The table is in docs/manual.md.
const (
	exitDiffers     = 1   // demo: the outputs differ
	exitDiverged    = 124 // a fallback did not repeat what its clone had done
	exitFailed      = 125 // clonecloud itself failed, or was used wrongly
	exitCannotRun   = 126 // not a module, or one that cannot run here
	exitNotFound    = 127 // the module's file is not there
	exitInterrupted = 130 // ctrl-C
	exitTrap        = 134 // the guest trapped
	exitTerminated  = 143 // SIGTERM
)

func main() {
	// Signals keep their default: they end the process at once. A handler of ours might never run, since compiled
	// code of a guest that calls nothing holds up the garbage collector, and the collector every goroutine.
	if os.Getenv("GOGC") == "" {
		// The heap is small beside the guest's memory, which is not in it; each collection less spares the start of a
		// large program a few milliseconds.
		debug.SetGCPercent(400)
	}
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(clonecloud.RunWorker()) // at once: devices may wait for it
	}
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// execute runs a command line and returns the exit code.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	code, text := outcome(root.ExecuteContext(ctx))
	if text != "" {
		fmt.Fprintln(stderr, "clonecloud: "+text)
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "clonecloud",
		Short:         "Run programs on a weak device with their expensive functions on a clone in the cloud",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{cmd, fmt.Sprintf("no command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{cmd, err.Error()} })
	root.AddCommand(newRunCommand(), newAnalyzeCommand(), newDemoCommand(), newCloudCommand(),
		newNodeCommand(), newWorkerCommand(), newVersionCommand())
	return root
}

// usageError is a wrong use of the command line.
type usageError struct {
	cmd  *cobra.Command
	text string
}

func (e usageError) Error() string {
	return fmt.Sprintf("%s; see %s --help", e.text, e.cmd.CommandPath())
}

// exactly accepts n arguments, and otherwise says what is wanted.
func exactly(n int, wanted string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{cmd, fmt.Sprintf("%s, not %d", wanted, len(args))}
		}
		return nil
	}
}

// outcome maps how a command ended to an exit code and the line that says what went wrong, "" if nothing is to say.
func outcome(err error) (int, string) {
	if err == nil {
		return 0, ""
	}
	var sig interrupted
	if errors.As(err, &sig) {
		return sig.code(), ""
	}
	var (
		exit   *clonecloud.ExitError
		trap   *clonecloud.Trap
		exc    *clonecloud.Exception
		report reportError
		differ differsError
	)
	switch {
	case errors.Is(err, clonecloud.ErrDiverged):
		return exitDiverged, oneLine(err)
	case errors.As(err, &exit):
		if errors.As(err, &report) {
			return int(exit.Code), oneLine(report)
		}
		return int(exit.Code), ""
	case errors.As(err, &trap), errors.As(err, &exc):
		return exitTrap, oneLine(err)
	case errors.Is(err, clonecloud.ErrModule), errors.Is(err, clonecloud.ErrInvoke):
		return exitCannotRun, oneLine(err)
	case errors.Is(err, errNoModule):
		return exitNotFound, oneLine(err)
	case errors.As(err, &differ):
		return exitDiffers, oneLine(err)
	}
	return exitFailed, oneLine(err)
}

// oneLine is an error's text in one line: joined errors have one each.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
