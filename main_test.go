package clonecloud_test

import (
	"os"
	"testing"

	"github.com/clonecloud/clonecloud"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(clonecloud.RunWorker()) // of a node that an example started
	}
	os.Exit(m.Run())
}
