package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what this build can do here",
		Args:  exactly(0, "it takes no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runVersion(cmd.OutOrStdout(), asJSON) },
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// versionVersion is the schema version of what version writes as JSON.
const versionVersion = 1

func runVersion(stdout io.Writer, asJSON bool) error {
	p := clonecloud.Platform()
	if asJSON {
		return writeJSON(stdout, struct {
			Version    int      `json:"version"`
			Clonecloud string   `json:"clonecloud"`
			Go         string   `json:"go"`
			OS         string   `json:"os"`
			Arch       string   `json:"arch"`
			Engines    []string `json:"engines"` // the one taken by default first
			DirtyPages string   `json:"dirty_pages"`
		}{versionVersion, version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Fields(p.Engines), p.Tracker})
	}
	_, err := fmt.Fprintf(stdout, "clonecloud %s (%s, %s/%s)\nengines: %s\ndirty pages: %s\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, p.Engines, p.Tracker)
	return err
}

// stamped is the version that packaging/dist gives to the linker.
var stamped string

// version is that of the release or the module, or the revision that a build from a checkout carries.
func version() string {
	if stamped != "" {
		return stamped
	}
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
