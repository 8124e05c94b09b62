package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clonecloud/clonecloud"
)

// analyzeOptions are the flags of analyze.
type analyzeOptions struct {
	json, all bool
	keepLocal []string
}

func (o *analyzeOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.all, "all", false, "list every function")
	f.StringSliceVar(&o.keepLocal, "keep-local", nil, "`functions` that never leave the device, nor what calls them")
}

func newAnalyzeCommand() *cobra.Command {
	var o analyzeOptions
	cmd := &cobra.Command{
		Use:   "analyze [flags] prog.wasm",
		Short: "Say which functions of a program may move, which would, and why the others may not",
		Args:  exactly(1, "name one module"),
		RunE:  func(cmd *cobra.Command, args []string) error { return runAnalyze(cmd.OutOrStdout(), &o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runAnalyze(stdout io.Writer, o *analyzeOptions, path string) error {
	bin, err := readModule(path)
	if err != nil {
		return err
	}
	a, err := clonecloud.Analyze(bin, o.keepLocal)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case o.json:
		return a.WriteJSON(stdout, o.all)
	}
	return a.WriteText(stdout, o.all)
}
