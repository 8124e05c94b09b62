package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

func newCloudCheckCommand() *cobra.Command {
	var readData, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [flags] NAME",
		Short: "Have a cloud check what it keeps of this device's files",
		Long: `Have a cloud check what it keeps of this device's files: names, sizes, and what refers to what; with --read-data all contents.
What is damaged is removed, and fetched again when it is needed. Exit code 125 says that something was.`,
		Example: `  clonecloud cloud check --read-data home`,
		Args:    exactly(1, "name a cloud"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runCloudCheck(cmd, args[0], readData, asJSON) },

		ValidArgsFunction: completeClouds(1),
	}
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and verify all contents, which may take long")
	addJSON(cmd, &asJSON)
	return cmd
}

// runCloudCheck has a cloud check its files.
func runCloudCheck(cmd *cobra.Command, name string, readData, asJSON bool) error {
	cloud, err := namedCloud(name)
	if err != nil {
		return err
	}
	defer cloud.Close()
	ctx, stop := endedBySignal(cmd.Context())
	defer stop()
	show := openLine(cmd.ErrOrStderr())
	if asJSON {
		show.close()
	}
	rep, err := clonecloud.CheckFiles(ctx, clonecloud.CheckConfig{
		Cloud: cloud, ReadData: readData, Progress: func(r clonecloud.CheckReport) { show.show(checkProgress(name, readData, &r)) },
	})
	show.close()
	if err != nil {
		return errors.Join(fmt.Errorf("cloud %s: %w", name, err), damage(name, rep))
	}
	return errors.Join(writeCheck(cmd.OutOrStdout(), name, rep, asJSON), damage(name, rep))
}

// namedCloud opens a cloud that was added.
func namedCloud(name string) (clonecloud.Cloud, error) {
	c, err := clouds()
	if err != nil {
		return nil, err
	}
	addr, err := c.Address(name)
	if err != nil {
		return nil, noCloud(name, err)
	}
	cfg, err := remoteConfig(addr)
	if err != nil {
		return nil, err
	}
	cloud, err := clonecloud.NewRemoteCloud(cfg)
	if err != nil {
		return nil, fmt.Errorf("cloud %s: %w", name, badAddress(err))
	}
	return cloud, nil
}

func checkProgress(name string, readData bool, r *clonecloud.CheckReport) string {
	text := fmt.Sprintf("clonecloud: %s: %s, %s", printable(name), counted(r.Objects, "object", "objects"), bytesText(r.Bytes))
	if readData {
		text += fmt.Sprintf(", %d read", r.Read)
	}
	if r.Damaged > 0 {
		text += fmt.Sprintf(", %d damaged", r.Damaged)
	}
	return text
}

func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// writeCheck says what came of it.
func writeCheck(w io.Writer, name string, rep *clonecloud.CheckReport, asJSON bool) error {
	if asJSON {
		return writeJSON(w, rep)
	}
	_, err := fmt.Fprintln(w, checkText(name, rep))
	return err
}

func checkText(name string, r *clonecloud.CheckReport) string {
	parts := []string{
		counted(r.Objects, "object", "objects") + " of " + bytesText(r.Bytes), counted(r.Read, "object was read", "objects were read"),
		counted(r.Roots, "directory is held on to", "directories are held on to"),
	}
	add := func(n uint64, one, many string) {
		if n > 0 {
			parts = append(parts, counted(n, one, many))
		}
	}
	add(r.Missing, "object is missing, and fetched when it is needed", "objects are missing, and fetched when they are needed")
	add(r.Foreign, "file is somebody else's, and stays", "files are somebody else's, and stay")
	add(r.Damaged, "object was damaged", "objects were damaged")
	add(r.Malformed, "object is malformed", "objects are malformed")
	if r.Good() {
		parts = append(parts, "all is well")
	}
	return printable(name) + ": " + strings.Join(parts, ", ")
}

// damage is the error of a check that found damage.
func damage(name string, r *clonecloud.CheckReport) error {
	var parts []string
	switch left := r.Damaged - min(r.Removed, r.Damaged); {
	case left > 0:
		parts = append(parts, fmt.Sprintf("%s damaged, and %d of them could not be removed", counted(r.Damaged, "object was", "objects were"), left))
	case r.Damaged > 0:
		parts = append(parts, counted(r.Damaged, "object was damaged and is removed: it is fetched again when it is needed",
			"objects were damaged and are removed: they are fetched again when they are needed"))
	}
	if r.Malformed > 0 {
		parts = append(parts, counted(r.Malformed, "object is not what it is used for", "objects are not what they are used for")+": run sync again")
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("cloud %s: %s", name, strings.Join(parts, "; "))
}
