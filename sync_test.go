package clonecloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/ambient"
	"github.com/clonecloud/clonecloud/internal/replica/used"
)

// put writes a file below a directory.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// someFiles makes a directory of about 600 kB.
func someFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 60 {
		put(t, dir, fmt.Sprintf("d%d/f%d", i%3, i), strings.Repeat(fmt.Sprint("text ", i, "\n"), 1000))
	}
	return dir
}

// syncConfig is for a cloud in this process, which keeps files in memory.
func syncConfig(t *testing.T, dirs ...string) SyncConfig {
	t.Helper()
	cloud := NewLocalCloud(LocalCloudConfig{Log: t.Logf})
	t.Cleanup(func() { cloud.Close() })
	return SyncConfig{Dirs: dirs, Cloud: cloud, FilesDir: t.TempDir(), Log: t.Logf}
}

func syncFiles(t *testing.T, cfg SyncConfig) *SyncReport {
	t.Helper()
	rep, err := SyncFiles(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestSyncFiles(t *testing.T) {
	a, b := someFiles(t), t.TempDir()
	put(t, b, "one", "1")
	cfg := syncConfig(t, a, b)
	var last SyncProgress
	read := 0
	cfg.Progress = func(p SyncProgress) {
		if last = p; p.Reading {
			read++
		}
	}
	rep := syncFiles(t, cfg)
	if len(rep.Dirs) != 2 || rep.Over() || read == 0 || last.Dir != b || last.Files != 1 || last.FilesTotal != 1 {
		t.Fatalf("got %+v, progress %+v", rep, last)
	}
	d := rep.Dirs[0]
	if d.Dir != a || !d.Done || d.Files != 60 || d.FilesTotal != 60 || d.Bytes != d.BytesTotal || d.Given < 60 || d.Sent < d.Bytes || rep.Sent() != d.Sent+rep.Dirs[1].Sent {
		t.Errorf("got %+v", d)
	}
	// What had just been written is hashed again, which may change nodes of directories, but no contents.
	if again := syncFiles(t, cfg); again.Dirs[0].Given > 4 || !again.Dirs[0].Done {
		t.Errorf("again: got %+v", again.Dirs[0])
	}

	put(t, a, "d1/new", "new")
	cfg.MaxBytes = 1
	if rep := syncFiles(t, cfg); !rep.Over() || rep.Dirs[0].Done || rep.Sent() != 0 {
		t.Errorf("with one byte to send: got %+v", rep)
	}
	cfg.MaxBytes = 1 << 20
	if rep := syncFiles(t, cfg); rep.Over() || !rep.Dirs[0].Done || rep.Dirs[0].Files != 61 {
		t.Errorf("got %+v", rep)
	}
}

func TestSyncUsed(t *testing.T) {
	dir := someFiles(t)
	cfg := syncConfig(t, dir)
	cfg.UsedOnly = true
	if d := syncFiles(t, cfg).Dirs[0]; d.FilesTotal != 0 || d.Given < 4 || !d.Done {
		t.Errorf("none was used: got %+v", d)
	}
	if err := used.Note(usedDir(cfg.FilesDir), dir, []string{"d1/f1", "gone"}); err != nil {
		t.Fatal(err)
	}
	if d := syncFiles(t, cfg).Dirs[0]; d.Files != 1 || d.FilesTotal != 1 || !d.Done {
		t.Errorf("one was used: got %+v", d)
	}
}

func TestSyncFaults(t *testing.T) {
	dir := someFiles(t)
	for name, change := range map[string]func(*SyncConfig){
		"none":     func(c *SyncConfig) { c.Dirs = nil },
		"no_cloud": func(c *SyncConfig) { c.Cloud = nil },
		"not_here": func(c *SyncConfig) { c.Dirs = append(c.Dirs, filepath.Join(dir, "nothing")) },
		"a_file":   func(c *SyncConfig) { c.Dirs = []string{filepath.Join(dir, "d1", "f1")} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := syncConfig(t, dir)
			change(&cfg)
			if rep, err := SyncFiles(t.Context(), cfg); !errors.Is(err, ErrConfig) || rep == nil || len(rep.Dirs) != 0 {
				t.Errorf("got %+v, %v", rep, err)
			}
			if err := RunAgent(t.Context(), AgentConfig{SyncConfig: cfg}); !errors.Is(err, ErrConfig) {
				t.Errorf("agent: %v", err)
			}
		})
	}
	t.Run("ended", func(t *testing.T) {
		cfg := syncConfig(t, dir)
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		cfg.When = func(context.Context) error { cancel(enough); return nil }
		if rep, err := SyncFiles(ctx, cfg); !errors.Is(err, enough) || len(rep.Dirs) != 1 || rep.Dirs[0].Done {
			t.Errorf("got %+v, %v", rep, err)
		}
	})
}

// days is a clock that passes when somebody sleeps; it says so before.
type days struct {
	now   time.Time
	sleep func(d time.Duration)
}

func (c *days) Now() time.Time { return c.now }

func (c *days) Sleep(ctx context.Context, d time.Duration) error {
	c.sleep(d)
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

// TestAgent follows an agent through some days.
func TestAgent(t *testing.T) {
	dir := someFiles(t)
	cfg := AgentConfig{SyncConfig: syncConfig(t, dir), Interval: time.Hour, MaxBytesPerDay: 10 << 20}
	var said []string
	cfg.Log = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	sent := func() bool { return len(said) > 0 && strings.Contains(said[len(said)-1], "bytes sent") }

	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("the days are over")
	clock := &days{now: time.Date(2026, 3, 2, 8, 0, 0, 0, time.Local)}
	state := ambient.State{CPUs: 1}
	var pauses, settles int
	// What each hour finds, and what it does. One that returns false wants to see another hour.
	hours := []struct {
		name string
		do   func() bool
	}{
		{"first", func() bool {
			if !sent() || settles == 0 {
				t.Errorf("nothing was sent: %q", said)
			}
			return true
		}},
		{"quiet", func() bool { // what had just changed is looked at again, until its age is beyond doubt
			quiet := !sent()
			said = nil
			if quiet {
				put(t, dir, "d2/new", "new")
				settles = 0
			}
			return quiet
		}},
		{"changed", func() bool {
			if !sent() || settles < 2 {
				t.Errorf("after a change while another was awaited: %q, %d", said, settles)
			}
			return true
		}},
		{"quiet again", func() bool {
			quiet := !sent()
			said = nil
			if quiet {
				put(t, dir, "d2/busy", "busy")
				state.Load, pauses = 3, 0
			}
			return quiet
		}},
		{"busy", func() bool {
			if text := strings.Join(said, "\n"); pauses != 4 || !strings.Contains(text, "it waits: the device is busy\nit goes on") || !sent() {
				t.Errorf("%d pauses: %q", pauses, said)
			}
			// More than the day has left.
			put(t, dir, "large", string(noise(12<<20)))
			return true
		}},
		{"spent", func() bool {
			if clock.now.Day() == 2 {
				left := ambient.OpenBudget(filepath.Join(cfg.FilesDir, "budget.json")).Left(clock.now, cfg.MaxBytesPerDay)
				if left > 1<<20 {
					t.Errorf("%d bytes are left of the day", left)
				}
				return false
			}
			return sent() // the rest, on the next day
		}},
		{"a day later", func() bool {
			if clock.now.Day() == 3 {
				return false
			}
			cancel(over)
			return true
		}},
	}
	clock.sleep = func(d time.Duration) {
		switch d {
		case agentPause:
			if pauses++; pauses == 4 {
				state.Load = 0
			}
		case agentSettle:
			if settles++; settles == 1 && len(hours) < 6 {
				put(t, dir, "d2/newer", fmt.Sprint(len(hours)))
			}
		case cfg.Interval:
			if len(hours) > 0 && hours[0].do() {
				hours = hours[1:]
			}
		}
	}
	a := newAgent(cfg, clock, func(time.Time) ambient.State { return state })
	if err := a.work(ctx); !errors.Is(err, over) {
		t.Errorf("got %v", err)
	}
	if len(hours) > 0 {
		t.Errorf("it ended before %q: %q", hours[0].name, said)
	}
	if d := syncFiles(t, cfg.SyncConfig).Dirs[0]; !d.Done || d.Sent > 64<<10 {
		t.Errorf("after it: got %+v", d)
	}
}

// noise is bytes that repeat nowhere.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

// TestAgentCloudAway: a cloud that cannot be reached is tried again, and said so once.
func TestAgentCloudAway(t *testing.T) {
	dir := someFiles(t)
	cfg := AgentConfig{SyncConfig: syncConfig(t, dir), Interval: time.Hour, Busy: true}
	cloud, err := NewRemoteCloud(RemoteCloudConfig{Address: "clonecloud://127.0.0.1:1/?token=" + strings.Repeat("A", 43) + "&cert=sha256:" + strings.Repeat("ab", 32)})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cloud = cloud
	var said []string
	cfg.Log = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	ctx, cancel := context.WithCancel(t.Context())
	intervals := 0
	clock := &days{now: time.Unix(1e9, 0), sleep: func(d time.Duration) {
		if d == cfg.Interval {
			if intervals++; intervals == 3 {
				cancel()
			}
		}
	}}
	a := newAgent(cfg, clock, func(time.Time) ambient.State { return ambient.State{} })
	if err := a.work(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(strings.Join(said, "\n"), "it is tried again in 1h0m0s"); n != 1 {
		t.Errorf("it was said %d times: %q", n, said)
	}
}

// TestSyncThenRun: an offload finds what was brought.
func TestSyncThenRun(t *testing.T) {
	module, err := os.ReadFile("cmd/clonecloud/testdata/guest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "f", "a line\n"+string(noise(300_000)))
	up := func(cfg SyncConfig) (n uint64) {
		var out strings.Builder
		rep, err := Run(t.Context(), Config{
			Module: module, Args: []string{"guest", "open", "/d/f"}, Mounts: []Mount{{Host: dir, Guest: "/d"}}, Stdout: &out,
			Cloud: cfg.Cloud, FilesDir: cfg.FilesDir, Offload: OffloadAlways, Log: t.Logf,
		})
		if err != nil || !strings.Contains(out.String(), "a line") {
			t.Fatalf("got %q, %v", out.String(), err)
		}
		offloads := 0
		for _, f := range rep.Functions {
			n += f.FilesUp
			offloads += f.Offloads
		}
		if offloads == 0 {
			t.Fatalf("nothing was offloaded: %+v", rep)
		}
		return n
	}
	if n := up(syncConfig(t, dir)); n < 16<<10 {
		t.Errorf("without sync %d bytes of files were sent: this tests nothing", n)
	}
	cfg := syncConfig(t, dir)
	syncFiles(t, cfg)
	if n := up(cfg); n > 4<<10 {
		t.Errorf("after sync %d bytes of files were sent", n)
	}
}
