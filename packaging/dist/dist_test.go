package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPackageVersion(t *testing.T) {
	for _, test := range []struct{ version, want string }{
		{"v1.2.3", "1.2.3"},
		{"v1.2.3-rc.1", "1.2.3~rc.1"},
		{"v1.2.3-rc-1", "1.2.3~rc.1"},
		{"v1.2.3-14-gabcdef012345", "1.2.3+14.gabcdef012345"},
		{"v1.2.3-rc.1-14-gabcdef012345", "1.2.3~rc.1+14.gabcdef012345"},
		{"v0.0.0-20261128115126-cff1a1d4fcf4", "0.0.0~20261128115126.cff1a1d4fcf4"},
		{"v0.0.0-20261128115126-cff1a1d4fcf4+dirty", "0.0.0~20261128115126.cff1a1d4fcf4+dirty"},
		{"v1.2.3+dirty", "1.2.3+dirty"},
	} {
		if got := packageVersion(test.version); got != test.want {
			t.Errorf("%s: got %s, want %s", test.version, got, test.want)
		}
	}
}

func TestStamp(t *testing.T) {
	t.Setenv("VERSION", "v1.2.3")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	s, err := readStamp(t.Context(), t.TempDir())
	if err != nil || s.version != "v1.2.3" || s.epoch != 1700000000 {
		t.Errorf("got %+v, %v", s, err)
	}
	for name, value := range map[string]string{"VERSION": "1.2; rm", "SOURCE_DATE_EPOCH": "yesterday"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := readStamp(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), name+"="+value) {
				t.Errorf("got %v, want an error that names %s", err, name)
			}
		})
	}
}

// TestStampWithoutGit wants to be told what to set.
func TestStampWithoutGit(t *testing.T) {
	t.Setenv("VERSION", "")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	_, err := readStamp(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "set SOURCE_DATE_EPOCH and VERSION") {
		t.Errorf("got %v, want a word on what to set", err)
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(platforms, ""); err != nil || len(all) != 7 {
		t.Errorf("got %v, %v; want seven platforms", all, err)
	}
	some, err := choose(platforms, "windows/arm64,linux/amd64,windows/arm64")
	if want := []platform{{os: "windows", arch: "arm64"}, {os: "linux", arch: "amd64"}}; err != nil || !slices.Equal(some, want) {
		t.Errorf("got %v, %v; want %v", some, err, want)
	}
	if _, err := choose(platforms, "linux/amd64,plan9/arm"); err == nil || !strings.Contains(err.Error(), `"plan9/arm"`) {
		t.Errorf("got %v, want an error that names the platform", err)
	}
}

func TestEach(t *testing.T) {
	var done sync.Map
	err := each(t.Context(), platforms, func(_ context.Context, p platform) error {
		if _, twice := done.LoadOrStore(p, true); twice {
			t.Errorf("%s is done twice", p)
		}
		return nil
	})
	for _, p := range platforms {
		if _, ok := done.Load(p); !ok || err != nil {
			t.Errorf("%s: done %v, %v", p, ok, err)
		}
	}
	fault := errors.New("a fault")
	err = each(t.Context(), platforms, func(ctx context.Context, p platform) error {
		if p == platforms[0] {
			return fault
		}
		<-ctx.Done() // the fault must end the others
		return ctx.Err()
	})
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), platforms[0].String()) {
		t.Errorf("got %v, want the fault and its platform", err)
	}
}

// TestClear must remove an earlier release, and nothing that is none.
func TestClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dist")
	for range 2 { // the second time over what the first has made
		if err := clear(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "archive"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	mine := filepath.Join(other, "mine")
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := clear(other); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("got %v, want a refusal that names the directory", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("a file of the user's is gone: %v", err)
	}
}

// TestSameBytes packs the same files twice, with other modes, times and order on the disk.
func TestSameBytes(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	pack := func(mode os.FileMode, reverse bool, write func(io.Writer, []entry, time.Time) error) []byte {
		dir := t.TempDir()
		in := []entry{{name: "d/b", exec: true}, {name: "d/a"}, {name: "d/c/x"}}
		for i := range in {
			in[i].path = filepath.Join(dir, filepath.Base(in[i].name))
			if err := os.WriteFile(in[i].path, []byte(strings.Repeat(in[i].name, 1000)), mode); err != nil {
				t.Fatal(err)
			}
		}
		if reverse {
			slices.Reverse(in)
		}
		var out bytes.Buffer
		if err := write(&out, in, at); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, write := range map[string]func(io.Writer, []entry, time.Time) error{"tar": writeTar, "zip": writeZip} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Equal(pack(0o644, false, write), pack(0o600, true, write)) {
				t.Error("the bytes differ")
			}
		})
	}
	t.Run("contents", func(t *testing.T) {
		want := []string{"d/a -rw-r--r-- 3000", "d/b -rwxr-xr-x 3000", "d/c/x -rw-r--r-- 5000"}
		if got := listTar(t, pack(0o600, true, writeTar), at); !slices.Equal(got, want) {
			t.Errorf("tar: got %q, want %q", got, want)
		}
		if got := listZip(t, pack(0o600, true, writeZip), at); !slices.Equal(got, want) {
			t.Errorf("zip: got %q, want %q", got, want)
		}
	})
}

func listTar(t *testing.T, b []byte, at time.Time) (list []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || !h.ModTime.Equal(at) || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: got time %v, owner %d %q, %v", h.Name, h.ModTime, h.Uid, h.Uname, err)
		}
		list = append(list, line(h.Name, h.FileInfo().Mode(), n))
	}
}

func listZip(t *testing.T, b []byte, at time.Time) (list []string) {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.File {
		c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, c) // with its checksum
		if err != nil || !f.Modified.Equal(at) {
			t.Errorf("%s: got time %v, %v", f.Name, f.Modified, err)
		}
		list = append(list, line(f.Name, f.Mode(), n))
	}
	return list
}

func TestChecksums(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "abc", "a": "", marker: "old"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := checksums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, marker))
	// Of FIPS 180: the empty text and "abc".
	want := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n" +
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// TestSettle gives two runs of the tool, at other times and from another build of it, that must come out equal.
func TestSettle(t *testing.T) {
	bom := func(at, hash, guess string) []byte {
		return []byte(`{"metadata":{"timestamp":"` + at + `","tools":[{"name":"cyclonedx-gomod","hashes":["` + hash + `"]}],` +
			`"component":{"version":"` + guess + `","purl":"pkg:golang/m@` + guess + `"}},"components":[{"name":"n","version":"v9"}]}`)
	}
	at := time.Unix(1700000000, 0).UTC()
	one, err := settle(bom("2026-01-01T00:00:00Z", "00", "v0.0.0-1"), "v1.2.3", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := settle(bom("2027-01-01T00:00:00Z", "ff", "v0.0.0-2"), "v1.2.3", at, nil)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("%v: got\n%s\nand\n%s", err, one, two)
	}
	for _, want := range []string{`"timestamp": "2023-11-14T22:13:20Z"`, `"purl": "pkg:golang/m@v1.2.3"`, `"version": "v9"`} {
		if !strings.Contains(string(one), want) {
			t.Errorf("got %s, want %s in it", one, want)
		}
	}
	if _, err := settle([]byte(`{"metadata":{}}`), "v1.2.3", at, nil); err == nil {
		t.Error("a bill without its tools was taken")
	}
}

func TestTerms(t *testing.T) {
	var text strings.Builder
	dir := t.TempDir()
	if err := terms(&text, "example.org/m v1", dir); err == nil || !strings.Contains(err.Error(), "example.org/m") {
		t.Errorf("got %v, want an error that names the module", err)
	}
	for name, terms := range map[string]string{"LICENSE": "do as you like", "NOTICE": "say who made it"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(terms), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := terms(&text, "example.org/m v1", dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"example.org/m v1 (LICENSE)", "do as you like", "say who made it"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("got %q, want %q in it", text.String(), want)
		}
	}
}

func line(name string, mode os.FileMode, size int64) string {
	return fmt.Sprintf("%s %v %d", name, mode, size)
}
