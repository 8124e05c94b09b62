package clonecloud

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/reconcile"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
)

// FilesMode says how offloaded functions get at the program's directories.
type FilesMode string

// The modes.
const (
	// FilesReplicate gives the clone a version of each directory: it reads and writes there as fast as on a disk of its own, what
	// it lacks is sent when it is read, and what it changed comes back with it. Directories of Config.KeepDirs, and those that
	// overlap or are very large, are used as in FilesHome.
	FilesReplicate FilesMode = ""
	// FilesHome lets the clone ask the device for each call on a file: a round trip each.
	FilesHome FilesMode = "home"
)

// ConflictPolicy says what becomes of a file that the device and a clone both changed.
type ConflictPolicy string

// The policies. Under none of them a version is lost without a word.
const (
	ConflictKeepBoth   ConflictPolicy = ""            // the device's version keeps its name, the clone's is laid beside it
	ConflictFail       ConflictPolicy = "fail"        // the run ends with ErrConflict, and nothing of the offload's files counts
	ConflictCloneWins  ConflictPolicy = "clone-wins"  // the clone's version takes the name, the device's is laid beside it
	ConflictDeviceWins ConflictPolicy = "device-wins" // the clone's version is dropped, and reported
)

// Conflict is a file that was changed on the device and on a clone; see Report.Conflicts.
type Conflict = device.Conflict

// ErrConflict is the end of a run whose files were changed on the device while a clone changed them, with ConflictFail.
var ErrConflict = device.ErrConflict

var conflictPolicies = map[ConflictPolicy]reconcile.Policy{
	ConflictKeepBoth: reconcile.KeepBoth, ConflictFail: reconcile.Fail, ConflictCloneWins: reconcile.CloneWins, ConflictDeviceWins: reconcile.DeviceWins,
}

// How long an offload waits until the directories have been looked through: of OffloadAuto, and of the other modes.
const (
	autoLook   = 250 * time.Millisecond
	forcedLook = time.Minute
)

// filesDir is where images of directories and plans of changes are kept.
func (c *Config) filesDir() string {
	if c.FilesDir != "" {
		return c.FilesDir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "clonecloud", "files")
}

func plansDir(files string) string { return filepath.Join(files, "plans") }

// replicas makes the directories of a process ready to follow it; nil: none does.
func (c *Config) replicas(peer string) *origin.Files {
	if c.Cloud == nil || c.Offload == OffloadNever || c.Files == FilesHome {
		return nil
	}
	dir := c.filesDir()
	oc := origin.Config{
		Cache: filepath.Join(dir, "stat.db"), Plans: plansDir(dir), Spool: filepath.Join(dir, "spool"),
		Known: filepath.Join(dir, "known"), Peer: peer, Used: filepath.Join(dir, "used"),
		Policy: conflictPolicies[c.Conflicts], Patience: autoLook, Log: c.Log, Audit: c.Audit,
	}
	if c.Offload == OffloadAlways || c.Offload == OffloadListed {
		oc.Patience = forcedLook
	}
	apart := c.overlapping()
	for i, m := range c.Mounts {
		name := cmp.Or(m.Guest, m.Host)
		if slices.Contains(c.KeepDirs, name) || apart[i] {
			continue
		}
		oc.Mounts = append(oc.Mounts, origin.Mount{Index: i, Dir: m.Host, Guest: name, ReadOnly: m.ReadOnly})
	}
	if len(oc.Mounts) == 0 {
		return nil
	}
	return origin.New(oc)
}

// overlapping tells which mounts have files in common with another: a change under one name must be seen under the other.
func (c *Config) overlapping() map[int]bool {
	apart := map[int]bool{}
	var real []string
	for i := range c.Mounts {
		real = append(real, realDir(c.Mounts[i]))
		for k := range i {
			if within(real[i], real[k]) || within(real[k], real[i]) {
				apart[i], apart[k] = true, true
			}
		}
	}
	return apart
}

// realDir is where a mount's directory really is.
func realDir(m Mount) string {
	p, err := filepath.EvalSymlinks(m.Host)
	if err == nil {
		p, err = filepath.Abs(p)
	}
	if err != nil {
		return m.Host // opening it has said what is wrong with it
	}
	return p
}

// within tells whether a directory is, or is below, another.
func within(dir, of string) bool {
	rel, err := filepath.Rel(of, dir)
	return err == nil && (rel == "." || filepath.IsLocal(rel))
}

// recoverFiles finishes what a crash has left half done in the directories of a run.
func (c *Config) recoverFiles(ctx context.Context) error {
	plans := plansDir(c.filesDir())
	for _, m := range c.Mounts {
		if err := origin.Recover(ctx, plans, realDir(m), c.Log); err != nil {
			return fmt.Errorf("finish changes of an earlier run in %s: %w", m.Host, err)
		}
	}
	return nil
}
