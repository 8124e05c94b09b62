package clonecloud

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud/internal/replica/push"
)

func TestCheckFiles(t *testing.T) {
	state := t.TempDir()
	node, err := StartNode(t.Context(), NodeConfig{Listen: "127.0.0.1:0", StateDir: state, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	cloud, err := NewRemoteCloud(RemoteCloudConfig{Address: node.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	check := func(readData bool) *CheckReport {
		t.Helper()
		rep, err := CheckFiles(t.Context(), CheckConfig{Cloud: cloud, ReadData: readData})
		if err != nil || rep.Version != checkVersion {
			t.Fatalf("got %+v, %v", rep, err)
		}
		return rep
	}
	syncFiles(t, SyncConfig{Dirs: []string{someFiles(t)}, Cloud: cloud, FilesDir: t.TempDir(), Log: t.Logf})
	whole := check(true)
	if whole.Objects < 60 || whole.Read != whole.Objects || whole.Roots != 1 || !whole.Good() {
		t.Fatalf("got %+v", whole)
	}
	list, err := filepath.Glob(filepath.Join(state, "files", "*", "[0-9a-f][0-9a-f]", "*"))
	if err != nil || uint64(len(list)) != whole.Objects {
		t.Fatalf("%d files of %d objects, %v", len(list), whole.Objects, err)
	}
	damage := func(name string) {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage(list[0])
	damage(list[1])
	if rep := check(true); rep.Damaged != 2 || rep.Removed != 2 || rep.Good() {
		t.Errorf("got %+v", rep)
	}
	if rep := check(true); rep.Objects != whole.Objects-2 || !rep.Good() {
		t.Errorf("afterwards: got %+v", rep)
	}
}

func TestCheckFaults(t *testing.T) {
	if rep, err := CheckFiles(t.Context(), CheckConfig{}); !errors.Is(err, ErrConfig) || rep == nil {
		t.Errorf("without a cloud: got %+v, %v", rep, err)
	}
	cfg := syncConfig(t, t.TempDir())
	if _, err := CheckFiles(t.Context(), CheckConfig{Cloud: cfg.Cloud}); !errors.Is(err, push.ErrCheck) {
		t.Errorf("a cloud that keeps files in memory: got %v", err)
	}
}
