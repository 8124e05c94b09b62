// Command clonecloud runs WebAssembly programs whose expensive functions execute on a clone elsewhere.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
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
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd() // which keeps stdout
	strict(root)
	args = withRun(root, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	code, text := outcome(err)
	complain(stderr, wantsJSON(cmd, args), code, text)
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "clonecloud",
		Short: "Run programs on a weak device with their expensive functions on a clone in the cloud",
		Long: `Run programs on a weak device with their expensive functions on a clone in the cloud.

Without a command, flags of run or a module are taken for "clonecloud run": clonecloud prog.wasm ARGS.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{cmd, noCommand(cmd, args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{cmd, flagError(cmd.Flags(), err)} })
	root.AddCommand(newRunCommand(), newAnalyzeCommand(), newInspectCommand(), newDemoCommand(), newCloudCommand(), newSyncCommand(), newDeviceCommand(),
		newNodeCommand(), newWorkerCommand(), newPathsCommand(), newVersionCommand(), newManCommand(), newExitCodesTopic())
	return root
}

// strict has the commands that come with cobra refuse what they do not know.
func strict(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); len(args) > 0 && (err != nil || found == root) {
					return usageError{root, fmt.Sprintf("help: no command or topic %q", strings.Join(args, " "))}
				}
				return nil
			}
		case "completion":
			c.Args = group
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// withRun puts "run" in front of a command line that names a module, or a flag that only run has, where a command is
// wanted: an argument with a dot or a slash in it, the name of a file, or - for standard input.
func withRun(root *cobra.Command, args []string) []string {
	if len(args) == 0 || !meansRun(root, args[0]) {
		return args
	}
	return append([]string{"run"}, args...)
}

func meansRun(root *cobra.Command, arg string) bool {
	for _, c := range root.Commands() {
		if c.Name() == arg || c.HasAlias(arg) {
			return false
		}
	}
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		name, _, _ = strings.Cut(name, "=")
		run, _, err := root.Find([]string{"run"})
		return err == nil && name != "help" && run.Flags().Lookup(name) != nil
	}
	if arg != "-" && strings.HasPrefix(arg, "-") {
		run, _, err := root.Find([]string{"run"})
		return err == nil && len(arg) > 1 && arg[1] != 'h' && run.Flags().ShorthandLookup(arg[1:2]) != nil
	}
	if arg == "-" || strings.ContainsAny(arg, "./"+string(os.PathSeparator)) {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir()
}

// noCommand says that there is no such command, and which one may be meant.
func noCommand(cmd *cobra.Command, name string) string {
	text := fmt.Sprintf("no command %q, and no file of this name", name)
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	if near := nearest(name, names); near != "" {
		text += fmt.Sprintf("; do you mean %s?", near)
	}
	return text
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
			return usageError{cmd, fmt.Sprintf("%s: %s, not %d", cmd.Name(), wanted, len(args))}
		}
		return nil
	}
}

// group refuses what is no command of a group of commands.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	text := fmt.Sprintf("%s has no command %q: there are %s", cmd.Name(), args[0], strings.Join(names, ", "))
	return usageError{cmd, text}
}

// nearest finds the name that is most like a text, "" if none is.
func nearest(text string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(text, n); d < least && d < len(n) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace until a is b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
