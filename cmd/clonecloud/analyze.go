package main

import (
	"errors"

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
	f.BoolVar(&o.all, "all", false, "list every function")
	f.StringSliceVar(&o.keepLocal, "keep-local", nil, "`functions` that never leave the device, nor what calls them")
}

func newAnalyzeCommand() *cobra.Command {
	var o analyzeOptions
	cmd := &cobra.Command{
		Use:   "analyze [flags] prog.wasm",
		Short: "Say which functions of a program may move, why the others may not, and which data would leave the device",
		Long: `Say which functions of a program may move, which would, and why the others may not; and which data would leave the device
if they moved, with what of run --keep-local prevents it. Nothing is run. - is a module on standard input.`,
		Args:              exactly(1, "name one module"),
		RunE:              func(cmd *cobra.Command, args []string) error { return runAnalyze(cmd, &o, args[0]) },
		ValidArgsFunction: completeOneModule,
	}
	addJSON(cmd, &o.json)
	o.addFlags(cmd.Flags())
	complete(cmd, "keep-local", completeFunctions())
	return cmd
}

func runAnalyze(cmd *cobra.Command, o *analyzeOptions, path string) error {
	bin, err := readModule(path, cmd.InOrStdin())
	if err != nil {
		return err
	}
	a, err := clonecloud.Analyze(bin, o.keepLocal)
	switch {
	case errors.Is(err, clonecloud.ErrConfig):
		for _, n := range o.keepLocal {
			if _, err := clonecloud.Analyze(bin, []string{n}); errors.Is(err, clonecloud.ErrConfig) {
				return usageError{cmd, noFunction("--keep-local", n, path)}
			}
		}
		return err
	case err != nil:
		return malformed(path, err)
	case o.json:
		return a.WriteJSON(cmd.OutOrStdout(), o.all)
	}
	return a.WriteText(cmd.OutOrStdout(), o.all)
}
