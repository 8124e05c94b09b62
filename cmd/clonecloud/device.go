package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// deviceOptions are the flags of device.
type deviceOptions struct {
	cloud                    string
	interval                 time.Duration
	perDay, rate             size
	used                     bool
	onBattery, metered, busy bool
	json                     bool
}

func newDeviceCommand() *cobra.Command {
	var o deviceOptions
	cmd := &cobra.Command{
		Use:   "device [flags] DIR...",
		Short: "Keep directories in a cloud, whenever this device can spare it",
		Long: `Keep directories in a cloud, until it is ended: look for changes, wait until they have settled, and bring what is new as
"clonecloud sync" does.

It works while the device is idle (others use at most half of its processors), has power (charged, or without a battery)
and a network that is not metered (its default route is no modem). On systems other than Linux all of that is taken for
granted. A cloud that cannot be reached is tried again later.

As a service of systemd, in ~/.config/systemd/user/clonecloud-device.service:

  [Unit]
  Description=Keeps directories in the cloud
  [Service]
  ExecStart=/usr/bin/clonecloud device --cloud home %h/data
  Nice=10
  IOSchedulingClass=idle
  Restart=on-failure
  [Install]
  WantedBy=default.target`,
		Example: `  clonecloud device --cloud home --max-bytes-per-day 2GB ~/data`,
		Args:    someDirs,
		RunE:    func(cmd *cobra.Command, args []string) error { return runDevice(cmd, &o, args) },

		ValidArgsFunction: folders,
	}
	f := cmd.Flags()
	f.StringVar(&o.cloud, "cloud", "", "`where` to: a cloud that was added, or an address")
	f.DurationVar(&o.interval, "interval", 10*time.Minute, "how often to look for changes")
	f.Var(&o.perDay, "max-bytes-per-day", "send at most so many bytes a day, e.g. 2GB")
	f.Var(&o.rate, "rate", "send at most so many bytes a second, e.g. 500kB")
	f.BoolVar(&o.used, "used", false, "bring only files that programs on a clone have used before")
	f.BoolVar(&o.onBattery, "on-battery", false, "work on the battery too")
	f.BoolVar(&o.metered, "metered", false, "work over a metered network too")
	f.BoolVar(&o.busy, "busy", false, "work while the device is busy too")
	f.BoolVar(&o.json, "json", false, "write the log and errors as JSON")
	complete(cmd, "cloud", completeClouds(0))
	return cmd
}

func runDevice(cmd *cobra.Command, o *deviceOptions, dirs []string) error {
	if o.interval <= 0 {
		return usageError{cmd, "--interval: a time above 0 is wanted, such as 10m"}
	}
	cloud, err := syncCloud(cmd, o.cloud)
	if err != nil {
		return err
	}
	defer cloud.Close()
	ctx, stop := endedBySignal(cmd.Context())
	defer stop()
	err = clonecloud.RunAgent(ctx, clonecloud.AgentConfig{
		SyncConfig: clonecloud.SyncConfig{
			Dirs: dirs, Cloud: cloud, FilesDir: filesDir(), Rate: uint64(o.rate), UsedOnly: o.used, Log: nodeLog(cmd.ErrOrStderr(), o.json),
		},
		Interval: o.interval, MaxBytesPerDay: uint64(o.perDay), OnBattery: o.onBattery, Metered: o.metered, Busy: o.busy,
	})
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) {
		return nil // that is how it ends
	}
	return err
}
