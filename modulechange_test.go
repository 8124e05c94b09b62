package clonecloud_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud"
)

func commandGuest(t *testing.T) []byte {
	t.Helper()
	bin, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestLimitMemory runs a program that takes all the memory it can get, with a little.
func TestLimitMemory(t *testing.T) {
	bin := commandGuest(t)
	limited, err := clonecloud.LimitMemory(bin, 4_000_000)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	_, err = clonecloud.Run(t.Context(), clonecloud.Config{Module: limited, Args: []string{"guest", "hoard"}, Stderr: &stderr})
	var exit *clonecloud.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || stderr.String() != "out of memory\n" {
		t.Errorf("got %v, %q", err, stderr.String())
	}
	again, err := clonecloud.LimitMemory(limited, 1<<30)
	if err != nil || !bytes.Equal(again, limited) {
		t.Errorf("a larger limit changes the module: %v", err)
	}
	if _, err := clonecloud.LimitMemory(bin, 100_000); !errors.Is(err, clonecloud.ErrModule) || !strings.Contains(err.Error(), "131072 bytes") {
		t.Errorf("less than it begins with: got %v", err)
	}
	if _, err := clonecloud.LimitMemory([]byte("text"), 1<<20); !errors.Is(err, clonecloud.ErrModule) {
		t.Errorf("no module: got %v", err)
	}
}

func TestExportSignatures(t *testing.T) {
	list, err := clonecloud.ExportSignatures(commandGuest(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, s.String())
	}
	want := []string{"_start () -> ()", "add (i32 i32) -> (i32)", "half (f64) -> (f64)", "big (i64) -> (i64)", "quiet () -> ()"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := clonecloud.ExportSignatures(nil); !errors.Is(err, clonecloud.ErrModule) {
		t.Errorf("no module: got %v", err)
	}
}

// TestForgetCloud removes what is known of one node and nothing else.
func TestForgetCloud(t *testing.T) {
	dir := t.TempDir()
	pin := strings.Repeat("ab", 32)
	address := "clonecloud://host:1/?token=" + strings.Repeat("A", 43) + "&cert=sha256:" + pin
	mine, other := filepath.Join(dir, pin[:32]), filepath.Join(dir, strings.Repeat("cd", 16))
	for _, d := range []string{mine, other} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d+".json", []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is not there is forgotten
		if err := clonecloud.ForgetCloud(address, dir); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if d := cmp.Diff([]string{other, other + ".json"}, left); d != "" || err != nil {
		t.Errorf("left, %v (-want +got):\n%s", err, d)
	}
	if err := clonecloud.ForgetCloud("http://here", dir); !errors.Is(err, clonecloud.ErrAddress) {
		t.Errorf("no address: got %v", err)
	}
}

func TestAnalysisCandidates(t *testing.T) {
	a, err := clonecloud.Analyze(commandGuest(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if names := a.Candidates(); !strings.Contains(" "+strings.Join(names, " ")+" ", " work ") {
		t.Errorf("candidates %q, want work among them", names)
	}
}
