package clonecloud_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud"
)

// A program that burns time runs on an interpreter, with its one expensive function on a clone.
func ExampleRun() {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	cloud := clonecloud.NewLocalCloud(clonecloud.LocalCloudConfig{})
	defer cloud.Close()
	report, err := clonecloud.Run(context.Background(), clonecloud.Config{
		Module: module, Args: []string{"guest", "work", "100"}, Stdout: os.Stdout,
		Engine: clonecloud.EngineInterpreter, Cloud: cloud,
		Offload: clonecloud.OffloadListed, Functions: []string{"work"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Functions {
		fmt.Printf("%s: %d of %d calls on the clone\n", f.Name, f.Offloads, f.Calls)
	}
	// Output:
	// 499560822
	// work: 1 of 1 calls on the clone
}

// An export is called in place of the program, with arguments as text.
func ExampleRunResults() {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	signature, err := clonecloud.ExportSignature(module, "add")
	if err != nil {
		fmt.Println(err)
		return
	}
	params, err := signature.Params([]string{"40", "2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, results, err := clonecloud.RunResults(context.Background(), clonecloud.Config{Module: module, Invoke: "add", Params: params})
	fmt.Println(signature.Results(results), err)
	// Output: [42] <nil>
}

func ExampleExitError() {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = clonecloud.Run(context.Background(), clonecloud.Config{Module: module, Args: []string{"guest", "exit", "7"}})
	var exit *clonecloud.ExitError
	if errors.As(err, &exit) {
		fmt.Println("exit code", exit.Code)
	}
	// Output: exit code 7
}

func ExampleAnalyze() {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := clonecloud.Analyze(module, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var text bytes.Buffer
	if err := a.WriteText(&text, false); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.Stay() == "", strings.Contains(text.String(), "Candidates:"))
	// Output: true true
}

// TestConfig lists every fault of a configuration in one error.
func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  clonecloud.Config
		want []string
	}{
		{"nothing", clonecloud.Config{}, []string{"no module"}},
		{"many", clonecloud.Config{
			Engine: "steam", Offload: "sometimes", Params: []uint64{1}, Env: []string{"A"}, Args: []string{"a\x00b"},
			Mounts: []clonecloud.Mount{{}}, CloneWait: -1,
		}, []string{"no module", `"steam"`, `"sometimes"`, "parameters", `"A"`, `"a\x00b"`, "directory", "waited"}},
		{"listed-without", clonecloud.Config{Module: []byte{}, Offload: clonecloud.OffloadListed}, []string{"needs a cloud", "functions are listed"}},
		{"functions-without", clonecloud.Config{Module: []byte{}, Functions: []string{"f"}}, []string{"functions are listed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := clonecloud.Run(context.Background(), tt.cfg)
			if r != nil || !errors.Is(err, clonecloud.ErrConfig) {
				t.Fatalf("got %v, %v", r, err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %q, want it to mention %q", err, w)
				}
			}
		})
	}
}

// TestEmptyModule tells bytes that are no module from no bytes at all.
func TestEmptyModule(t *testing.T) {
	if _, err := clonecloud.Run(context.Background(), clonecloud.Config{Module: []byte{}}); !errors.Is(err, clonecloud.ErrModule) {
		t.Errorf("got %v, want ErrModule", err)
	}
}
