package clonecloud

import (
	"context"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/replica/push"
	"github.com/clonecloud/clonecloud/internal/runner"
)

// CheckConfig says how to check what a cloud keeps of this device's files, see [CheckFiles]. Cloud is needed.
type CheckConfig struct {
	Cloud Cloud
	// ReadData has all contents read and verified, and not only names, sizes and what refers to what.
	ReadData bool
	// Progress is told about once a second how far it is. Optional.
	Progress func(CheckReport)
}

// CheckReport is what [CheckFiles] came to.
type CheckReport struct {
	Version int    `json:"version"` // of this form, now 1
	Objects uint64 `json:"objects"` // pieces of files, and directories, that are there
	Bytes   uint64 `json:"bytes"`   // of them, as they are kept
	Read    uint64 `json:"read"`    // of the objects, whose contents were verified
	Roots   uint64 `json:"roots"`   // directories that are held on to
	Reached uint64 `json:"reached"` // objects that these need
	// Damaged is what was not as it was stored, Removed how much of it was taken away: it is fetched again when it is needed.
	Damaged uint64 `json:"damaged"`
	Removed uint64 `json:"removed"`
	// Malformed are objects that are as the device sent them, and not what refers to them takes them for.
	Malformed uint64 `json:"malformed"`
	Foreign   uint64 `json:"foreign"` // what somebody else put there; it stays
	Missing   uint64 `json:"missing"` // objects that are needed and not there: no fault, they are fetched then
}

// checkVersion is the version of the form of a CheckReport.
const checkVersion = 1

// Good says whether all that is kept is as it was stored.
func (r *CheckReport) Good() bool { return r.Damaged == 0 && r.Malformed == 0 }

// CheckFiles has a cloud check what it keeps of this device's files. Only a device can ask for that, since what is kept is
// encrypted with its key, which belongs to its identity, see [RemoteCloudConfig]. What is damaged is removed. The report is
// there in any case, as far as the check came. The end of ctx ends the check in the cloud, too.
func CheckFiles(ctx context.Context, cfg CheckConfig) (*CheckReport, error) {
	rep := &CheckReport{Version: checkVersion}
	if cfg.Cloud == nil {
		return rep, fmt.Errorf("%w: no cloud whose files to check", ErrConfig)
	}
	rc := runner.Config{Engine: nameless{}}
	if err := cfg.Cloud.join(&rc); err != nil {
		return rep, err
	}
	c := push.CheckConfig{Dial: rc.Dial, Peer: rc.Peer, Key: rc.FilesKey, ReadData: cfg.ReadData}
	if cfg.Progress != nil {
		c.Progress = func(c push.Checked) {
			r := CheckReport{Version: checkVersion}
			r.take(&c)
			cfg.Progress(r)
		}
	}
	got, err := push.Check(ctx, c)
	rep.take(&got)
	if err != nil {
		return rep, fmt.Errorf("check kept files: %w", err)
	}
	return rep, nil
}

func (r *CheckReport) take(c *push.Checked) {
	r.Objects, r.Bytes, r.Read, r.Roots, r.Reached = c.Objects, c.Bytes, c.Read, c.Roots, c.Reached
	r.Damaged, r.Removed, r.Malformed, r.Foreign, r.Missing = c.Damaged, c.Removed, c.Malformed, c.Foreign, c.Missing
}
