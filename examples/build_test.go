package examples_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clonecloud/clonecloud/examples"
)

// The committed modules are what their sources build to, with the compiler that they were built with.
func TestModulesMatchTheirSources(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !bytes.Contains(version, []byte("Debian clang version 14.0.6")) {
		t.Skip("needs Debian 12's clang")
	}
	if _, err := os.Stat("/usr/lib/wasm32-wasi/libc.a"); err != nil {
		t.Skip("needs wasi-libc")
	}
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs make")
	}
	for _, p := range examples.Programs() {
		if p.Wasm == nil {
			continue
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(p.Name)); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, p.Name+".wasm")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if text, err := exec.Command("make", "-s", "-C", dir).CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", p.Name, err, text)
			continue
		}
		built, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(built, p.Wasm) {
			t.Errorf("%s.wasm is not what its sources build to: run make in examples/%s", p.Name, p.Name)
		}
	}
}
