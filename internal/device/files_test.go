package device_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/replica"
	"github.com/clonecloud/clonecloud/internal/replica/origin"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// follow has a directory follow the process, as mount number index.
func follow(t *testing.T, cfg *runner.Config, index int, dir string) {
	state := t.TempDir()
	cfg.Files = func() *origin.Files {
		return origin.New(origin.Config{
			Mounts: []origin.Mount{{Index: index, Dir: dir, Guest: cfg.Local.Mounts[index].Guest}},
			Plans:  filepath.Join(state, "plans"), Spool: filepath.Join(state, "spool"), Patience: time.Minute, Log: cfg.Log,
		})
	}
}

func hostDir(t *testing.T, dir string) vfs.FS {
	t.Helper()
	host, err := vfs.OpenHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	return host
}

// TestFallbackKeepsWhatItOpens: the last thing that a lost clone has done is to open a file of a directory that stays on the
// device. The run here repeats that, merges the files that follow, and still has the file open.
func TestFallbackKeepsWhatItOpens(t *testing.T) {
	c := lie{name: "opened", function: "work", reason: "link lost", line: "clone lost", script: func(s *stage) {
		s.ready()
		s.start()
		s.migrate()
		s.request(read8)
		s.request(s.open("in"))
		s.bye()
	}}
	run := func(c *lie) *outcome {
		dir := t.TempDir()
		return playOver(t, c, vfs.NewMem(vfs.MemOptions{Now: func() uint64 { return 1 }}), func(cfg *runner.Config) {
			cfg.Local.Mounts = append(cfg.Local.Mounts, local.Mount{FS: hostDir(t, dir), Guest: "/follows"})
			follow(t, cfg, 1, dir)
		})
	}
	c.judge(t, run(nil), run(&c))
}

// patiently is honestly, by a clone that is given offloads up.
func patiently(s *stage) {
	s.ready()
	for {
		switch m := s.recv().(type) {
		case *wire.Sync:
			s.send(s.initial())
		case *wire.Migrate:
			s.take(m)
			s.back(s.answer(5050))
		}
	}
}

// TestUploadLimitFiles: what is sent of files leaves room for the pages that are to follow.
func TestUploadLimitFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 400 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("a file of some name %03d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	met, passed := 0, 0
	for extra := 10_000; extra < 80_000; extra += 3_000 {
		limit := uint64(len(guestWasm) + extra)
		c := lie{name: "limit", function: "work", script: patiently, limits: device.Limits{Upload: limit}}
		got := playOver(t, &c, hostDir(t, dir), func(cfg *runner.Config) { follow(t, cfg, 0, dir) })
		if got.report.LinkUp > limit {
			t.Errorf("sent %d bytes, the limit is %d", got.report.LinkUp, limit)
		}
		if fallbacks(got)["upload limit"] > 0 {
			met++
		} else {
			passed++
		}
	}
	if met < 3 || passed < 3 {
		t.Errorf("the limit was met in %d runs, and not in %d", met, passed)
	}
}

// TestTraceHasNoFileNames: a fallback on account of files says why to who sits there, and names none in a trace.
func TestTraceHasNoFileNames(t *testing.T) {
	dir := t.TempDir()
	var told []trace.Event
	c := lie{name: "names", function: "work", reason: "files", script: func(s *stage) {
		s.ready()
		st := s.start()
		s.migrate()
		// The directory does not take a file of this name.
		m := replica.BackMount{Index: st.Mounts[0].Index, Last: st.Mounts[0].Last}
		d := &tree.Delta{
			Bases: []tree.Base{{Ino: st.Mounts[0].Root.Ino}},
			Dirs:  []tree.DirChange{{Ino: st.Mounts[0].Root.Ino, Names: []tree.NameChange{{Name: "secret", Ino: tree.FirstNew}}}},
			Files: []tree.FileChange{{Ino: tree.FirstNew, Kind: tree.KindFile, Written: true, Size: tree.MaxFile, Pieces: []tree.Piece{{Size: tree.MaxFile}}}},
		}
		m.Delta = d.AppendTo(nil)
		s.tell(wire.FilesBack, (&replica.Back{Mounts: []replica.BackMount{m}}).AppendTo(nil))
		s.back(s.answer(1))
		s.tired()
	}}
	back := c
	back.name, back.script = "back", func(s *stage) {
		s.ready()
		s.start()
		s.migrate()
		r := s.answer()
		r.Outcome, r.Detail = wire.OutcomeHandedBack, `change "a \"secret\" file": this needs the device`
		s.send(r)
		s.tired()
	}
	playOver(t, &back, hostDir(t, dir), func(cfg *runner.Config) {
		follow(t, cfg, 0, dir)
		cfg.Events = func(e trace.Event) {
			if e.Kind == trace.Fallback && e.Reason == "handed back" {
				told = append(told, e)
			}
		}
	})
	if len(told) != 1 || told[0].Text != `handed back: change "...": this needs the device` || !strings.Contains(told[0].Name, "secret") {
		t.Errorf("handed back: %+v", told)
	}
	told = nil
	c.reason = "files, refused"
	got := playOver(t, &c, hostDir(t, dir), func(cfg *runner.Config) {
		follow(t, cfg, 0, dir)
		cfg.Events = func(e trace.Event) {
			if e.Kind == trace.Fallback {
				told = append(told, e)
			}
		}
	})
	if len(told) == 0 || told[0].Reason != "files" || told[0].Name == "" || strings.Contains(told[0].Text, dir) || strings.Contains(told[0].Text, "secret") {
		t.Errorf("fallbacks %+v, report %v", told, fallbacks(got))
	}
}
