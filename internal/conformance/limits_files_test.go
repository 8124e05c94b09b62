package conformance

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/chunkstore"
	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/trace"
)

// checkStore opens the store that a node has of a key, and verifies all that is in it.
func checkStore(t *testing.T, folder string, secret [32]byte) {
	t.Helper()
	derive := func(what string, n int) []byte {
		b, err := hkdf.Key(sha256.New, secret[:], nil, "clonecloud files "+what, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b, err := chunkstore.OpenFolder(filepath.Join(folder, hex.EncodeToString(derive("name", 16))))
	if err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.OpenStore(b, chunkstore.Options{Key: derive("key", 32)})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Check(t.Context(), chunkstore.CheckOptions{ReadData: true, Report: func(p chunkstore.Problem) {
		if p.Fault != chunkstore.FaultAbsent { // a device brings it again
			t.Errorf("store of the node: %v", p)
		}
	}})
	if err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("store of the node: %+v", st)
	if st.Objects == 0 || st.Read != st.Objects {
		t.Errorf("%d of %d objects were read", st.Read, st.Objects)
	}
}

// limitsWay moves the whole program.
func limitsWay() Way { return Way{Clone: siteEngine(), Canonical: true, Files: true, Trace: true} }

// compare runs a script here and on a clone, each in directories that make has filled, and returns what the latter came to.
func compareFiles(t *testing.T, l *Lab, script string, w Way, fill func(dir string) error, place func() string) *Outcome {
	t.Helper()
	bin := filesGuest(t)
	run := func(w Way) (*Outcome, map[string]string) {
		dir := place()
		for _, name := range []string{"a", "b"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := fill(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
		o, err := l.Run(context.Background(), filesCase(bin, dir, script), w)
		if err != nil {
			t.Fatal(err)
		}
		a, err := attributes(filepath.Join(dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} { // for the next
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return o, a
	}
	want, wantTree := run(Way{Canonical: true})
	got, gotTree := run(w)
	if d := Diff(want, got); d != "" {
		t.Errorf("%s\nlog: %v", d, got.Log)
	}
	if d := diffAttributes(wantTree, gotTree); d != "" {
		t.Error(d)
	}
	return got
}

// reasons are those of a run's fallbacks, with their texts.
func reasons(o *Outcome) string {
	var all []string
	for _, e := range o.Events {
		if e.Kind == trace.Fallback {
			all = append(all, e.Reason+": "+e.Text+" "+e.Name) // the name is no part of traces
		}
	}
	return strings.Join(all, "\n")
}

// TestWrittenLimit has a program write more than the node lets it: the call is handed back, and runs here.
func TestWrittenLimit(t *testing.T) {
	w := limitsWay()
	w.node = func(h *clone.Host) { h.Files.Memory, h.Files.Limit = 16<<10, 256<<10 }
	nothing := func(string) error { return nil }
	script := fmt.Sprintf("P 0 %s 1 100000\nP 0 %s 2 100000\nP 0 %s 3 100000\nd 0 0 4000\n", guestName("x"), guestName("y"), guestName("z"))
	o := compareFiles(t, newLab(t), script, w, nothing, t.TempDir)
	if why := reasons(o); !strings.Contains(why, "too much was written") {
		t.Errorf("fallbacks: %q", why)
	}
	w.node = func(h *clone.Host) { h.Files.Memory, h.Files.Limit = 16<<10, 512<<10 }
	if why := reasons(compareFiles(t, newLab(t), script, w, nothing, t.TempDir)); why != "" {
		t.Errorf("within the limit: fallbacks: %q", why)
	}
}

// smallDisk mounts a file system of a megabyte.
func smallDisk(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs a small file system of its own")
	}
	dir := t.TempDir()
	if text, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("mount a small file system: %v: %s", err, text)
	}
	t.Cleanup(func() {
		if text, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			open, _ := filepath.Glob("/proc/self/fd/*") // the pattern is one
			for _, fd := range open {
				if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, dir) {
					t.Errorf("%s is left open", to)
				}
			}
			t.Errorf("%v: %s", err, text)
		}
	})
	return dir
}

// fullScript writes more than that has room for, and then removes a file that was there.
func fullScript(before string) string {
	var b strings.Builder
	b.WriteString(before + "{\n")
	for i := range 6 {
		fmt.Fprintf(&b, "o 2 0 %s 0 1 3 0\nw 2 0 300000 %d\nc 2\n", guestName(fmt.Sprint("new", i)), i)
	}
	fmt.Fprintf(&b, "u 0 %s\n}\nd 0 0 4000\n", guestName("old"))
	return b.String()
}

// fullWay moves what is between the braces, without the output.
func fullWay() Way {
	w := limitsWay()
	w.Deep, w.All, w.First = true, true, 100
	w.only = func(name string) bool { return name == "group" }
	return w
}

// TestFullDisk has a clone change more than the device has room for: the call runs here, and finds the disk full itself.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	o := compareFiles(t, newLab(t), fullScript(""), fullWay(), func(a string) error {
		return os.WriteFile(filepath.Join(a, "old"), filling(200_000, 9), 0o644)
	}, func() string { return dir })
	if why := reasons(o); !strings.HasPrefix(why, "files: ") || !strings.Contains(why, "no space left") {
		t.Errorf("fallbacks: %q", why)
	}
	if !strings.Contains(string(o.Stdout), "w 51 ") { // ENOSPC
		t.Errorf("the disk did not fill up:\n%s", o.Stdout)
	}
}

// TestFullDiskAfterOutput does the same where the clone has said that all went well: that cannot be made true, so the run ends
// with the reason, and the files are as they were.
func TestFullDiskAfterOutput(t *testing.T) {
	dir := smallDisk(t)
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "old"), filling(200_000, 9), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := allOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	o, err := newLab(t).Run(t.Context(), filesCase(filesGuest(t), dir, fullScript("F\n")), fullWay())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(o.End, "merge files: ") || !strings.Contains(o.End, "no space left") {
		t.Errorf("end: %s\nstdout:\n%s", o.End, o.Stdout)
	}
	after, err := allOf(dir)
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("%v: files are changed: %s", err, diffAttributes(before, after))
	}
}

// TestManyEntries changes a directory with a great many entries: a million with -full.
func TestManyEntries(t *testing.T) {
	n, list := 20_000, "d 0 0 50000\n"
	if *full {
		n, list = 1_000_000, ""
	}
	if testing.Short() {
		n = 2000
	}
	root, err := ramDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	place := func() string { return root }
	script := list + fmt.Sprintf("u 0 %[1]s\nP 0 %[2]s 77 1000\nn 0 %[3]s 0 %[4]s\nS 0 %[1]s 0\nS 0 %[3]s 0\nS 0 %[5]s 0\n", guestName("file0000100"),
		guestName("file0000100x"), guestName("file0000777"), guestName("zzz"), guestName("file0001999")) + list
	o := compareFiles(t, newLab(t), script, limitsWay(), func(a string) error {
		for i := range n {
			if err := os.WriteFile(filepath.Join(a, fmt.Sprintf("file%07d", i)), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}, place)
	if done, back := o.Report.Offloads(); done == 0 || back > 0 {
		t.Errorf("%d offloads, fallbacks: %s", done, reasons(o))
	}
}

// TestChangedWhileRead has another program change a file after an offload has pinned it, before the clone reads it: the call is handed
// back with that reason, and reads here what is there now.
func TestChangedWhileRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "a", "file")
	if err := os.WriteFile(file, filling(500_000, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	w := limitsWay()
	w.hear = func(e trace.Event) {
		if e.Kind == trace.Pinned {
			if err := os.WriteFile(file, filling(400_000, 2), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	script := fmt.Sprintf("o 2 0 %s 0 0 1 0\nr 2 0 600000\ns 2\n", guestName("file"))
	l, bin := newLab(t), filesGuest(t)
	got, err := l.Run(t.Context(), filesCase(bin, dir, script), w)
	if err != nil {
		t.Fatal(err)
	}
	want, err := l.Run(t.Context(), filesCase(bin, dir, script), Way{Canonical: true})
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(want, got); d != "" {
		t.Error(d)
	}
	if why := reasons(got); !strings.HasPrefix(why, "handed back: ") || !strings.Contains(why, "changed") {
		t.Errorf("fallbacks: %q", why)
	}
}

// TestLinkSwappedIn puts a symbolic link that leads out of the tree in the place of a directory, after a clone has changed files in
// that: nothing is written, removed or made where it leads, and what the clone wrote is kept.
func TestLinkSwappedIn(t *testing.T) {
	needsLinux(t)
	for _, at := range []trace.Kind{trace.Pinned, trace.Back, trace.Received} {
		t.Run(string(at), func(t *testing.T) {
			dir := t.TempDir()
			a, victim := filepath.Join(dir, "a"), filepath.Join(dir, "victim")
			for _, d := range []string{"a/d", "b", "victim"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			book := newLedger()
			for i, f := range []string{"a/d/write", "a/d/remove", "a/d/move", "a/d/stay", "victim/write", "victim/remove", "victim/move", "victim/stay"} {
				book.size[i+1], book.made[i+1] = 1000*(i+1), "the beginning"
				if err := os.WriteFile(filepath.Join(dir, f), marked(i+1, 1000*(i+1)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before, err := allOf(victim)
			if err != nil {
				t.Fatal(err)
			}
			w := limitsWay()
			w.hear = func(e trace.Event) {
				if e.Kind != at {
					return
				}
				if err := os.Rename(filepath.Join(a, "d"), filepath.Join(dir, "away")); err != nil {
					t.Error(err)
				}
				if err := os.Symlink("../victim", filepath.Join(a, "d")); err != nil {
					t.Error(err)
				}
			}
			book.size[100], book.size[101] = 5000, 6000
			script := fmt.Sprintf("P 0 %s 100 5000\nP 0 %s 101 6000\nD 0 %s\nM 0 %s 0 %s\n", guestName("d/write"), guestName("d/new"), guestName("d/remove"),
				guestName("d/move"), guestName("moved"))
			o, err := newLab(t).Run(t.Context(), filesCase(filesGuest(t), dir, script), w)
			if err != nil {
				t.Fatal(err)
			}
			if after, err := allOf(victim); err != nil || !maps.Equal(before, after) {
				t.Errorf("%v: where the link leads is changed: %s", err, diffAttributes(before, after))
			}
			book.read(o.Stdout)
			have := map[int]bool{}
			for _, place := range []string{a, victim, filepath.Join(dir, "away")} {
				files, err := filepath.Glob(filepath.Join(place, "*"))
				if err != nil {
					t.Fatal(err)
				}
				more, _ := filepath.Glob(filepath.Join(place, "*", "*")) // the pattern is one
				for _, f := range append(files, more...) {
					if b, err := os.ReadFile(f); err == nil {
						have[markOf(b)] = true
					}
				}
			}
			for m, who := range book.made {
				if !have[m] && book.lost[m] == "" {
					t.Errorf("what %s wrote as %d is gone; stdout:\n%s\nend: %s\nconflicts: %v", who, m, o.Stdout, o.End, o.Report.Conflicts)
				}
			}
			t.Logf("end %s; %s; conflicts %v", o.End, reasons(o), o.Report.Conflicts)
		})
	}
}
