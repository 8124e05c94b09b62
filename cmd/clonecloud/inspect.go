package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	json         bool
	html, chrome string
}

func (o *inspectOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.json, "json", false, "print the figures as JSON")
	f.StringVar(&o.html, "html", "", "write one page with the figures and a timeline to `file`; - for stdout")
	f.StringVar(&o.chrome, "chrome", "", "write the run in the Chrome trace event format, for Perfetto or about:tracing, to `file`; - for stdout")
}

func newInspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect [flags] FILE",
		Short: "Say what a run did, from its report or its trace",
		Long: `Say what ran where, what it took and where the time went, from the FILE that run --report or run --trace has written;
- reads stdin. Text on stdout if no other form is asked for.`,
		Example: `  clonecloud run --cloud local --trace run.trace prog.wasm
  clonecloud inspect run.trace
  clonecloud inspect --html run.html run.trace`,
		Args: exactly(1, "it takes one file, of run --report or run --trace"),
		RunE: func(cmd *cobra.Command, args []string) error { return runInspect(cmd, &o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runInspect(cmd *cobra.Command, o *inspectOptions, path string) error {
	if n := count(o.json, o.html == "-", o.chrome == "-"); n > 1 {
		return usageError{cmd, "stdout takes one of --json, --html - and --chrome -"}
	}
	s, err := inspectFile(cmd.InOrStdin(), path)
	if err != nil {
		return fmt.Errorf("inspect %s: %w", path, err)
	}
	if o.chrome != "" && s.Source != "trace" { // before a file is made
		return fmt.Errorf("inspect %s: --chrome: %w", path, clonecloud.ErrNoEvents)
	}
	stdout := cmd.OutOrStdout()
	if err := writeTo(stdout, o.html, s.WriteHTML); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	if err := writeTo(stdout, o.chrome, s.WriteChrome); err != nil {
		return fmt.Errorf("--chrome: %w", err)
	}
	switch {
	case o.json:
		err = s.WriteJSON(stdout)
	case o.html == "" && o.chrome == "":
		err = s.WriteText(stdout)
	}
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

func inspectFile(stdin io.Reader, path string) (*clonecloud.Inspection, error) {
	if path == "-" {
		return clonecloud.Inspect(stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // the path is said already
		}
		return nil, err
	}
	defer f.Close()
	return clonecloud.Inspect(f)
}

// writeTo writes a file, stdout for "-", nothing for "".
func writeTo(stdout io.Writer, path string, write func(io.Writer) error) error {
	switch path {
	case "":
		return nil
	case "-":
		return write(stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
