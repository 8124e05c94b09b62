package clonecloud_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/clonecloud/clonecloud"
)

// TestLearns: a program whose one long call came too early for a clone moves at once in a later run; one that gains
// nothing is not even connected for.
func TestLearns(t *testing.T) {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		learn func(r *clonecloud.Report) bool // what a later run has learned
	}{
		{"long", []string{"guest", "work", "6000"}, func(r *clonecloud.Report) bool { return r.Share > 0.5 }},
		{"short", []string{"guest", "exit", "0"}, func(r *clonecloud.Report) bool { return r.LinkUp == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args []string) *clonecloud.Report {
				cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{MemoryDir: dir})
				defer cloud.Close()
				r, err := clonecloud.Run(context.Background(), clonecloud.Config{
					Module: module, Args: args, Stdout: io.Discard, Engine: clonecloud.EngineInterpreter, Cloud: cloud, Seed: 1,
				})
				var exit *clonecloud.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				return r
			}
			run(c.args)
			for range 10 { // a busy machine may keep a clone from being ready, or make a short run long
				if c.learn(run(c.args)) {
					return
				}
			}
			t.Error("nothing was learned")
		})
	}
}
