package clonecloud

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// address is one of a node that does not exist.
func address(t *testing.T) trust.Address {
	t.Helper()
	a, err := trust.EphemeralAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a.Address("node.example:7311")
}

func TestClouds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config", "clouds")
	c, a, b := Clouds(dir), address(t), address(t)
	if list, err := c.List(); len(list) > 0 || err != nil {
		t.Errorf("before there is a folder: %v, %v", list, err)
	}
	if _, err := c.Address("work"); !errors.Is(err, ErrNoCloud) || !strings.Contains(err.Error(), "work") {
		t.Errorf("error %v", err)
	}
	if err := c.Remove("work"); !errors.Is(err, ErrNoCloud) {
		t.Errorf("error %v", err)
	}
	for name, addr := range map[string]trust.Address{"work": b, "home-2": b, "A.b_c": a} {
		if err := c.Add(name, addr.String()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Add("work", a.String()); err != nil { // in place of what was there
		t.Fatal(err)
	}
	if got, err := c.Address("work"); err != nil || got != a.String() {
		t.Errorf("address differs: %v", err)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "work.json"): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", path, info.Mode().Perm(), err, want)
			}
		}
	}
	for _, file := range []string{"notes.txt", ".hidden.json", ".tmp-123", "local.json", "name with space.json"} { // none of ours
		if err := os.WriteFile(filepath.Join(dir, file), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.List()
	if err != nil || len(list) != 3 {
		t.Fatalf("list %v, %v", list, err)
	}
	for i, want := range []NamedCloud{{"A.b_c", a.Redacted()}, {"home-2", b.Redacted()}, {"work", a.Redacted()}} {
		if list[i] != want || strings.Contains(list[i].Redacted, a.Token.Reveal()) || strings.Contains(list[i].Redacted, b.Token.Reveal()) {
			t.Errorf("%d: %v, want %v", i, list[i], want)
		}
	}
	if err := c.Remove("home-2"); err != nil {
		t.Error(err)
	}
	if list, err := c.List(); err != nil || len(list) != 2 || list[0].Name != "A.b_c" || list[1].Name != "work" {
		t.Errorf("list %v, %v", list, err)
	}
}

// TestCloudNames: a name is that of a file, and must not lead elsewhere.
func TestCloudNames(t *testing.T) {
	dir := t.TempDir()
	c, a := Clouds(dir), address(t).String()
	for _, name := range []string{"", "local", "..", ".", ".x", "-x", "_x", "a/b", `a\b`, "../x", "a b", "a:b", "ä", "a\x00", "a\n", strings.Repeat("a", 65)} {
		_, err := c.Address(name)
		for _, err := range []error{c.Add(name, a), err, c.Remove(name)} {
			if !errors.Is(err, ErrConfig) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files %v, %v", files, err)
	}
	for _, name := range []string{"a", "9", "locals", "Local", "a..b", "x.json", strings.Repeat("a", 64)} {
		if err := c.Add(name, a); err != nil {
			t.Error(err)
		}
		if got, err := c.Address(name); got != a || err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestCloudAddresses keeps only what can be one, and never shows its secret.
func TestCloudAddresses(t *testing.T) {
	c, a := Clouds(t.TempDir()), address(t)
	for _, bad := range []string{"", "node.example:7311", strings.Replace(a.String(), "cert=", "cart=", 1), strings.Replace(a.String(), "clonecloud:", "http:", 1)} {
		if err := c.Add("x", bad); !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), a.Token.Reveal()) {
			t.Errorf("%v", err)
		}
	}
	if _, err := c.Address("x"); !errors.Is(err, ErrNoCloud) {
		t.Errorf("something is kept: %v", err)
	}
	// A folder that cannot be made.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Clouds(file).Add("x", a.String()); err == nil || strings.Contains(err.Error(), a.Token.Reveal()) {
		t.Errorf("%v", err)
	}
	if _, err := Clouds(file).List(); err == nil {
		t.Error("a file is listed")
	}
}

// TestCloudDamaged: of a file that is damaged one is told, with what to do; it is listed without address, and can be
// replaced and removed.
func TestCloudDamaged(t *testing.T) {
	dir := t.TempDir()
	c, a := Clouds(dir), address(t)
	for name, text := range map[string]string{
		"empty": "", "cut": `{"version":1,"addr`, "version": `{"version":2,"address":"` + a.String() + `"}`, "null": "null",
		"no-address": `{"version":1}`, "no-node": `{"version":1,"address":"http://example"}`,
		"large": `{"version":1,"address":"` + a.String() + `"` + strings.Repeat(" ", 17<<10) + `}`,
	} {
		path := filepath.Join(dir, name+".json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Address(name); got != "" || err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "add the cloud again") ||
			strings.Contains(err.Error(), a.Token.Reveal()) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if list, err := c.List(); err != nil || len(list) != 1 || list[0] != (NamedCloud{Name: name}) {
			t.Errorf("%s: list %v, %v", name, list, err)
		}
		if err := c.Add(name, a.String()); err != nil {
			t.Error(err)
		}
		if got, err := c.Address(name); got != a.String() || err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Address("folder"); err == nil || errors.Is(err, ErrNoCloud) {
		t.Errorf("error %v", err)
	}
	if list, err := c.List(); err != nil || len(list) != 1 || list[0] != (NamedCloud{Name: "folder"}) {
		t.Errorf("list %v, %v", list, err)
	}
}

// TestRemoteSpeed compares the machines, and measures this one once.
func TestRemoteSpeed(t *testing.T) {
	eng, err := wazero.New(wazero.Options{Mode: wazero.Interpreter})
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close(t.Context())
	dir, a := t.TempDir(), address(t)
	open := func() *remoteCloud {
		c, err := newRemoteCloud(RemoteCloudConfig{Address: a.String(), MemoryDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if s := open().speed(eng); s != 60 { // twice what its engine makes of it
		t.Errorf("a node of which nothing is known is %v times as fast", s)
	}
	if err := remote.OpenMemory(dir, a.Pin).Learn(func(f *remote.Facts) { f.Engine, f.Speed = interpreterName, 1e9 }); err != nil {
		t.Fatal(err)
	}
	c := open()
	first := c.speed(eng)
	here := remote.OpenMemory(dir, a.Pin).DeviceSpeed
	if here <= 0 || first != 1e9/here || c.speed(eng) != first || open().speed(eng) != first {
		t.Errorf("this device's speed is %v, the node is %v times as fast, then %v", here, first, c.speed(eng))
	}
}

// TestRemoteConfig refuses what cannot be used before anything is connected.
func TestRemoteConfig(t *testing.T) {
	if _, err := NewRemoteCloud(RemoteCloudConfig{Address: "node:1"}); !errors.Is(err, ErrAddress) {
		t.Errorf("error %v", err)
	}
	file := filepath.Join(t.TempDir(), "device")
	cfg := RemoteCloudConfig{Address: address(t).String(), DeviceFile: file}
	for range 2 {
		c, err := NewRemoteCloud(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := NewRemoteCloud(cfg); c != nil || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), file) {
		t.Errorf("cloud %v, error %v", c, err)
	}
}
