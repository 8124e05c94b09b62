package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// pathsVersion is the schema version of what paths writes as JSON.
const pathsVersion = 1

// namedPath is a place that is used.
type namedPath struct {
	Name   string `json:"name"`
	Path   string `json:"path"` // "": there is none
	Exists bool   `json:"exists"`
	What   string `json:"what"`
}

func newPathsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "paths",
		Short: "Say where configuration, clouds, device key, compiled code and learned facts are",
		Args:  exactly(0, "it takes no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runPaths(cmd, asJSON) },
	}
	addJSON(cmd, &asJSON)
	return cmd
}

// paths lists all places.
func paths() []namedPath {
	in := func(dir, name string) string {
		if dir == "" {
			return ""
		}
		return filepath.Join(dir, name)
	}
	settings, _ := configDir() // "": without a home there are none
	config, _ := configPath()
	list := []namedPath{
		{Name: "config", Path: config, What: "defaults for run"},
		{Name: "clouds", Path: in(settings, "clouds"), What: "addresses of clouds, with their secrets"},
		{Name: "device_key", Path: in(settings, "device.key"), What: "this device's identity, a secret"},
		{Name: "code", Path: cacheDir(), What: "compiled code"},
		{Name: "known", Path: knownDir(), What: "what runs have learned of clouds and programs"},
		{Name: "files", Path: filesDir(), What: "what is known of directories that follow programs, and changes that a crash has cut short"},
		{Name: "node_state", What: "a node's authority, token, modules and code: where node --state says"},
	}
	for i := range list {
		if list[i].Path != "" {
			_, err := os.Stat(list[i].Path)
			list[i].Exists = err == nil
		}
	}
	return list
}

func runPaths(cmd *cobra.Command, asJSON bool) error {
	list := paths()
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), struct {
			Version int         `json:"version"`
			Paths   []namedPath `json:"paths"`
		}{pathsVersion, list})
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, p := range list {
		path := p.Path
		switch {
		case path == "":
			path = "(none)"
		case !p.Exists:
			path += " (not there yet)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, path, p.What)
	}
	w.Flush()
	_, err := cmd.OutOrStdout().Write(b.Bytes())
	return err
}
