package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/wire"
)

var pin = [32]byte{0xab, 1}

// TestMemory keeps what is learned, for each node by itself.
func TestMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	m := OpenMemory(dir, pin)
	if m.Engine != "" || m.Version != 0 {
		t.Errorf("knows %+v", m.Facts)
	}
	learn := func(f *Facts) {
		f.Engine = "e"
		f.SetLink(time.Millisecond, 4, 5)
		f.SetLink(0, 5, 9)
	}
	if err := m.Learn(learn); err != nil || m.Engine != "e" {
		t.Errorf("%+v, %v", m.Facts, err)
	}
	again := OpenMemory(dir, pin)
	if again.Engine != "e" || again.RTT != time.Millisecond || len(again.Rates) != 1 || again.Rates[4] != 5 {
		t.Errorf("knows %+v", again.Facts)
	}
	if other := OpenMemory(dir, [32]byte{1}); other.Engine != "" {
		t.Errorf("of another node it knows %+v", other.Facts)
	}
	// What another run has kept meanwhile counts.
	if err := errors.Join(again.Learn(func(f *Facts) { f.Speed = 7 }), m.Learn(func(f *Facts) { f.Arch = "a" })); err != nil || m.Speed != 7 {
		t.Errorf("%+v, %v", m.Facts, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || !strings.HasPrefix(files[0].Name(), "ab01") {
		t.Fatalf("files %v, %v", files, err)
	}
	if info, _ := files[0].Info(); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	for range 2 {
		if err := m.Forget(); err != nil {
			t.Error(err)
		}
	}
	if m := OpenMemory(dir, pin); m.Engine != "" {
		t.Errorf("knows %+v", m.Facts)
	}
}

// TestMemoryDamaged: what cannot be read is as good as nothing, and is replaced.
func TestMemoryDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": `{"version":1,"engine":"e`, "other_form": `{"version":1,"engine":{"x":1}}`, "half_other_form": `{"version":1,"engine":"e","rates":"fast"}`,
		"version": `{"version":1,"engine":"e"}`, "no_version": `{"engine":"e"}`, "garbage": "\x00\xff", "list": "[]", "null": "null",
		"large": `{"version":1,"engine":"` + strings.Repeat("e", maxFacts) + `"}`,
	} {
		dir := t.TempDir()
		m := OpenMemory(dir, pin)
		if err := os.WriteFile(m.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m = OpenMemory(dir, pin)
		if m.Engine != "" || m.RTT != 0 || len(m.Rates) != 0 || m.IsWarm(wire.ID{}, time.Now()) {
			t.Errorf("%s: knows %.100v", name, m.Facts)
		}
		if err := m.Learn(func(f *Facts) { f.Engine = "new" }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m := OpenMemory(dir, pin); m.Engine != "new" || m.Version != factsVersion {
			t.Errorf("%s: knows %+v afterwards", name, m.Facts)
		}
	}
}

// TestMemoryNowhere: where nothing can be kept it holds for this run.
func TestMemoryNowhere(t *testing.T) {
	m := OpenMemory("", pin)
	if err := errors.Join(m.Learn(func(f *Facts) { f.Engine = "e" }), m.Learn(func(f *Facts) { f.Arch = "a" }), m.Forget()); err != nil || m.Engine != "e" || m.Arch != "a" {
		t.Errorf("%+v, %v", m.Facts, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m = OpenMemory(filepath.Join(file, "dir"), pin)
	if err := m.Learn(func(f *Facts) { f.Engine = "e" }); err == nil || m.Engine != "e" {
		t.Errorf("%+v, %v", m.Facts, err)
	}
}

// TestMemoryShared: what a run has got of the facts stays as it is when another one learns.
func TestMemoryShared(t *testing.T) {
	m := OpenMemory("", pin)
	learn := func(rate float64) {
		t.Helper()
		if err := m.Learn(func(f *Facts) { f.SetLink(time.Millisecond, 4, rate) }); err != nil {
			t.Fatal(err)
		}
	}
	learn(5)
	got := m.Facts
	learn(6)
	if got.Rates[4] != 5 || m.Rates[4] != 6 {
		t.Errorf("the run has %v, the memory %v", got.Rates, m.Rates)
	}
}

// TestMemoryWriters has many write at once: the file is whole at any moment.
func TestMemoryWriters(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			m := OpenMemory(dir, pin)
			for i := range 20 {
				var id wire.ID
				id[0], id[1] = byte(w), byte(i)
				err := m.Learn(func(f *Facts) {
					f.Engine = fmt.Sprint("e", w)
					f.SetWarm(id, true, time.Now())
				})
				if err != nil {
					t.Error(err)
				}
				if seen := OpenMemory(dir, pin); seen.Version != factsVersion || !strings.HasPrefix(seen.Engine, "e") || len(seen.Warm) == 0 {
					t.Errorf("reads %+v", seen.Facts)
				}
			}
		})
	}
	wg.Wait()
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

// TestWarm: that code is in place is believed for a while, and of not too many programs.
func TestWarm(t *testing.T) {
	now := time.Now()
	m := OpenMemory(t.TempDir(), pin)
	id := wire.ID{1}
	set := func(id wire.ID, warm bool, at time.Time) {
		t.Helper()
		if err := m.Learn(func(f *Facts) { f.SetWarm(id, warm, at) }); err != nil {
			t.Fatal(err)
		}
	}
	set(wire.ID{2}, false, now)
	if len(m.Warm) > 0 {
		t.Errorf("warm are %v", m.Warm)
	}
	set(id, true, now)
	for after, want := range map[time.Duration]bool{
		0: true, time.Minute: true, warmFor - time.Millisecond: true, warmFor: false, 24 * time.Hour: false,
		-time.Minute: false, // this machine's clock was set back: nobody knows how long ago it was
	} {
		if got := m.IsWarm(id, now.Add(after)); got != want {
			t.Errorf("warm after %v: %t", after, got)
		}
	}
	if m.IsWarm(wire.ID{2}, now) {
		t.Error("another program is warm")
	}
	set(id, false, now)
	if m.IsWarm(id, now) {
		t.Error("still warm")
	}
	var last wire.ID
	for i := range 3 * maxWarm {
		last = wire.ID{byte(i), byte(i >> 8), 1}
		m.SetWarm(last, true, now)
	}
	if len(m.Warm) > maxWarm+1 || !m.IsWarm(last, now) {
		t.Errorf("%d programs", len(m.Warm))
	}
	set(id, true, now.Add(warmFor))
	if len(m.Warm) != 1 {
		t.Errorf("%d programs after their time", len(m.Warm))
	}
	if _, err := os.Stat(m.path); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRoundTrip(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ connect, handshake, want time.Duration }{
		{ms / 10, ms, ms / 10},      // near
		{50 * ms, 53 * ms, 50 * ms}, // far
		{ms / 10, 75 * ms, 70 * ms}, // far, with a proxy that is near
		{50 * ms, 30 * ms, 50 * ms}, // held up
	} {
		if got := roundTrip(c.connect, c.handshake); got != c.want {
			t.Errorf("%v and %v: got %v, want %v", c.connect, c.handshake, got, c.want)
		}
	}
}
