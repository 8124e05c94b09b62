package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what this build can do here",
		Args:  exactly(0, "it takes no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runVersion(cmd.OutOrStdout()) },
	}
}

func runVersion(stdout io.Writer) error {
	p := clonecloud.Platform()
	_, err := fmt.Fprintf(stdout, "clonecloud %s (%s, %s/%s)\nengines: %s\ndirty pages: %s\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, p.Engines, p.Tracker)
	return err
}

// version is the module's, or the revision that a build from a checkout carries.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
