package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

func newAnalyzeCommand() *cobra.Command {
	var asJSON, all bool
	var opt analysis.Options
	cmd := &cobra.Command{
		Use:   "analyze [flags] prog.wasm",
		Short: "Say which functions of a program may move, which would, and why the others may not",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("analyze: name one module, not %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			bin, err := readModule(args[0])
			if err != nil {
				return err
			}
			m, err := wasm.Decode(bin)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", clonecloud.ErrModule, args[0], err)
			}
			opt.Alone = true
			r, err := analysis.Analyze(m, opt)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", clonecloud.ErrModule, args[0], err)
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(r.Summary(all))
			}
			return r.WriteText(cmd.OutOrStdout(), analysis.TextOptions{Functions: all})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "list every function")
	cmd.Flags().StringSliceVar(&opt.KeepLocal, "keep-local", nil, "`functions` that never leave the device, nor what calls them")
	return cmd
}
