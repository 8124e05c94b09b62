package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestAddressFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "address")
	if err := os.WriteFile(file, []byte("old and longer than the new one"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout strings.Builder
	if err := giveAddress(&stdout, file, "clonecloud://here"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != "clonecloud://here\n" || stdout.Len() > 0 {
		t.Errorf("got file %q, %v, standard output %q; want the address in the file alone", got, err, stdout.String())
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode != 0o600 {
		t.Errorf("got mode %v, want 0600", mode)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("got %v, %v; want the file alone", left, err)
	}
}

func TestAddressNoFile(t *testing.T) {
	var stdout strings.Builder
	if err := giveAddress(&stdout, "", "clonecloud://here"); err != nil || stdout.String() != "clonecloud://here\n" {
		t.Errorf("got %q, %v", stdout.String(), err)
	}
	file := filepath.Join(t.TempDir(), "absent", "address")
	err := giveAddress(&stdout, file, "clonecloud://here")
	if err == nil || !strings.Contains(err.Error(), "--address-file "+file) {
		t.Errorf("got %v, want an error that names flag and file", err)
	}
}
