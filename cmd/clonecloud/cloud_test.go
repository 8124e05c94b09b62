package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud"
)

// startNode starts a node in this process, with workers of their own, and keeps its address in a file.
func startNode(t *testing.T, cfg clonecloud.NodeConfig) (n *clonecloud.Node, address string) {
	t.Helper()
	cfg.Listen, cfg.Worker = "127.0.0.1:0", workerCommand()
	n, err := clonecloud.StartNode(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	address = filepath.Join(t.TempDir(), "address")
	if err := os.WriteFile(address, []byte(n.Address()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return n, "file://" + address
}

// settings gives a test clouds and an identity of its own.
func settings(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
}

func TestCloud(t *testing.T) {
	n, address := startNode(t, clonecloud.NodeConfig{})
	secret := n.Address()[strings.Index(n.Address(), "token=")+6:][:43]
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		settings(t)
		quiet := func(got result, want string) {
			t.Helper()
			if got.code != 0 || got.stdout != want || strings.Contains(got.stderr, secret) {
				t.Fatalf("got %+v, want %q", got, want)
			}
		}
		quiet(run(t, nil, "cloud", "list"), "")
		quiet(run(t, nil, "cloud", "add", "home", address), "")
		if got := run(t, nil, "cloud", "list"); !strings.Contains(got.stdout, n.Addr().String()) || strings.Contains(got.stdout, secret) {
			t.Errorf("list: %+v", got)
		}
		t.Setenv("NODE_ADDRESS", n.Address())
		quiet(run(t, nil, "cloud", "add", "by-env", "env://NODE_ADDRESS"), "")
		quiet(run(t, strings.NewReader(n.Address()), "cloud", "add", "by.stdin", "-"), "")
		var list struct {
			Version int
			Clouds  []struct{ Name, Address string }
		}
		if err := json.Unmarshal([]byte(run(t, nil, "cloud", "list", "--json").stdout), &list); err != nil || list.Version != 1 || len(list.Clouds) != 3 {
			t.Errorf("list: %v, %+v", err, list)
		}
		quiet(run(t, nil, "cloud", "remove", "by-env"), "")
		quiet(run(t, nil, "cloud", "remove", "by.stdin"), "")

		var status struct {
			Version int
			Clouds  []struct {
				Name   string
				Status struct{ Engine, Arch string }
			}
		}
		got := run(t, nil, "cloud", "status", "--json")
		if err := json.Unmarshal([]byte(got.stdout), &status); err != nil || len(status.Clouds) != 1 || status.Clouds[0].Status.Engine == "" {
			t.Errorf("status: %v, %+v", err, got)
		}
		// Twice: the second run finds the program's code in place.
		for range 2 {
			path := filepath.Join(t.TempDir(), "report")
			quiet(run(t, nil, "run", "--cloud", "home", "--offload", "work", "--report", path, guest, "work", "10"), "820388082\n")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var r clonecloud.Report
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			if done, back := r.Offloads(); done != 1 || back != 0 || r.Cloud == "" {
				t.Errorf("%d offloads, %d fallbacks on %q", done, back, r.Cloud)
			}
		}
	})
}

// TestCloudTrouble holds each trouble with a cloud to its line: none of them fails a run.
func TestCloudTrouble(t *testing.T) {
	n, _ := startNode(t, clonecloud.NodeConfig{})
	good := n.Address()
	at := strings.Index(good, "token=") + 6
	wrongToken := good[:at] + strings.Repeat("A", 43) + good[at+43:]
	wrongPin := good[:len(good)-64] + strings.Repeat("0", 64)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := strings.Replace(good, n.Addr().String(), ln.Addr().String(), 1)
	ln.Close()
	for _, tt := range []struct{ name, address, line string }{
		{"token", wrongToken, "token"},
		{"certificate", wrongPin, "another certificate than the address names"},
		{"nobody", closed, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
				settings(t)
				t.Setenv("NODE_ADDRESS", tt.address)
				got := run(t, nil, "run", "--cloud", "env://NODE_ADDRESS", "--offload", "work", "--wait", "2s", guest, "work", "10")
				if got.code != 0 || got.stdout != "820388082\n" || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, tt.line) {
					t.Errorf("got %+v, want one line with %q", got, tt.line)
				}
				if got := run(t, nil, "cloud", "add", "x", "env://NODE_ADDRESS"); got.code != 0 || !strings.Contains(got.stderr, "does not answer") {
					t.Errorf("add: got %+v", got)
				}
				if got := run(t, nil, "cloud", "status"); got.code != exitFailed || !strings.Contains(got.stdout, tt.line) {
					t.Errorf("status: got %+v", got)
				}
			})
		})
	}
}

// TestKeepLocal holds what stays on the device, what may leave at most, and the audit of what left.
func TestKeepLocal(t *testing.T) {
	_, address := startNode(t, clonecloud.NodeConfig{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("inside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, run func(*testing.T, io.Reader, ...string) result) {
		settings(t)
		whole := []string{"run", "--cloud", address, "--offload", "always", "--dir", dir + "::/here"}
		offloads := func(args ...string) (done int, back map[string]int) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "report")
			got := run(t, strings.NewReader("typed\n"), append(append(whole[:len(whole):len(whole)], "--report", path), args...)...)
			if got.code != 0 {
				t.Fatalf("%q: got %+v", args, got)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var r clonecloud.Report
			if err := json.Unmarshal(b, &r); err != nil {
				t.Fatal(err)
			}
			back = map[string]int{}
			for _, f := range r.Functions {
				for k, n := range f.Fallbacks {
					back[k] += n
				}
			}
			done, _ = r.Offloads()
			return done, back
		}
		audit := filepath.Join(t.TempDir(), "audit")
		if done, _ := offloads("--audit", audit, guest, "open", "/here/f"); done == 0 {
			t.Error("nothing moved where nothing is kept")
		}
		if b, err := os.ReadFile(audit); err != nil || !strings.Contains(string(b), `"/here/f"`) {
			t.Errorf("audit: %v, %s", err, b)
		}
		// Functions that do not need what is kept may still move; those that do are refused, and nothing of it is served.
		for _, kept := range []struct {
			keep string
			args []string
		}{
			{"dir:/here", []string{guest, "open", "/here/f"}}, {"stdin", []string{guest, "cat"}},
		} {
			audit := filepath.Join(t.TempDir(), "audit")
			_, back := offloads(append([]string{"--keep-local", kept.keep, "--audit", audit}, kept.args...)...)
			if back["kept local"] == 0 {
				t.Errorf("kept %s: fallbacks %v", kept.keep, back)
			}
			if b, err := os.ReadFile(audit); err != nil || strings.Contains(string(b), `"/here/f"`) || strings.Contains(string(b), "standard input") {
				t.Errorf("kept %s: %v, %s", kept.keep, err, b)
			}
		}
		if _, back := offloads("--env", "A=b", "--keep-local", "env:A", guest, "env", "A"); len(back) > 0 {
			t.Errorf("kept variable: fallbacks %v", back)
		}
		if done, _ := offloads("--max-upload", "100", guest, "work", "10"); done > 0 {
			t.Errorf("100 bytes of uploads: %d offloads", done)
		}
		for _, bad := range [][]string{
			{"run", "--keep-local", "dir:/nowhere", guest}, {"run", "--keep-local", "env:", guest},
			{"run", "--dir", dir + "::/here", "--dir", filepath.Dir(dir) + "::/all", "--keep-local", "dir:/here", guest}, {"run", "--max-upload", "much", guest},
		} {
			if got := run(t, nil, bad...); got.code != exitFailed || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("%q: got %+v", bad, got)
			}
		}
	})
}
