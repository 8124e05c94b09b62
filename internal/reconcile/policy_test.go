//go:build linux || darwin

package reconcile

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
	"github.com/clonecloud/clonecloud/internal/tree"
)

func TestPolicies(t *testing.T) {
	const aside = " (clone's version 2026-05-04 1)"
	const mine = " (device's version 2026-05-04 1)"
	for _, c := range []struct {
		name   string
		device func(r *realDir)
		clone  func(m *model, ino func(path string) uint64)
		want   map[Policy][]string
		kind   string
	}{
		{
			"both_write", func(r *realDir) { r.write("d/f.txt", "device") },
			func(m *model, ino func(string) uint64) { m.nodes[ino("d/f.txt")].data = []byte("clone!!!") },
			map[Policy][]string{
				KeepBoth:   {"d/", "d/f.txt=device", "d/f" + aside + ".txt=clone!!!"},
				CloneWins:  {"d/", "d/f.txt=clone!!!", "d/f" + mine + ".txt=device"},
				DeviceWins: {"d/", "d/f.txt=device"},
			}, KindChanged,
		},
		{
			"both_make", func(r *realDir) { r.write("d/new", "device") },
			func(m *model, ino func(string) uint64) {
				m.nodes[ino("d")].names["new"] = m.add(&node{kind: tree.KindFile, data: []byte("clone")})
			},
			map[Policy][]string{
				KeepBoth:   {"d/", "d/f.txt=base", "d/new=device", "d/new" + aside + "=clone"},
				CloneWins:  {"d/", "d/f.txt=base", "d/new=clone", "d/new" + mine + "=device"},
				DeviceWins: {"d/", "d/f.txt=base", "d/new=device"},
			}, KindExists,
		},
		{
			"device_writes_clone_removes", func(r *realDir) { r.write("d/f.txt", "device") },
			func(m *model, ino func(string) uint64) { delete(m.nodes[ino("d")].names, "f.txt") },
			map[Policy][]string{
				KeepBoth:   {"d/", "d/f.txt=device"},
				CloneWins:  {"d/", "d/f" + mine + ".txt=device"},
				DeviceWins: {"d/", "d/f.txt=device"},
			}, KindKept,
		},
		{
			"device_removes_clone_writes", func(r *realDir) { _ = os.Remove(r.path("d/f.txt")) },
			func(m *model, ino func(string) uint64) { m.nodes[ino("d/f.txt")].data = []byte("CLONE!!!") },
			map[Policy][]string{
				KeepBoth:   {"d/", "d/f.txt=CLONE!!!"},
				CloneWins:  {"d/", "d/f.txt=CLONE!!!"},
				DeviceWins: {"d/"},
			}, KindRemoved,
		},
		{
			"device_adds_clone_removes_directory", func(r *realDir) { r.write("d/more", "device") },
			func(m *model, ino func(string) uint64) {
				m.nodes[ino("d")].names = map[string]uint64{}
				delete(m.nodes[m.root].names, "d")
			},
			map[Policy][]string{
				KeepBoth:   {"d/", "d/more=device"},
				CloneWins:  {"d/", "d/more=device"},
				DeviceWins: {"d/", "d/more=device"},
			}, KindKept,
		},
		{
			"device_replaces_directory_by_file", func(r *realDir) { _ = os.RemoveAll(r.path("d")); r.write("d", "device") },
			func(m *model, ino func(string) uint64) {
				m.nodes[ino("d")].names["new"] = m.add(&node{kind: tree.KindFile, data: []byte("clone")})
			},
			map[Policy][]string{
				KeepBoth:   {"d=device", "new" + aside + "=clone"},
				CloneWins:  {"d=device", "new" + aside + "=clone"},
				DeviceWins: {"d=device"},
			}, KindDenied,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for policy := range plan.NumPolicies {
				r := newReal(t)
				r.write("d/f.txt", "base")
				base := r.pin()
				m := newModel(base)
				c.clone(m, func(path string) uint64 { return base.byPath[path].Ino })
				d, chunks := m.delta()
				c.device(r)
				cfg := r.config(base)
				cfg.Policy = policy
				p, err := Prepare(t.Context(), cfg, d, source(chunks))
				if policy == Fail {
					var conflict *ConflictError
					if !errors.As(err, &conflict) || conflict.Conflicts[0].Kind != c.kind {
						t.Errorf("got %v, want a conflict of kind %s", err, c.kind)
					}
					r.clean()
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := p.Conflicts(); len(got) != 1 || got[0].Kind != c.kind {
					t.Errorf("policy %d: got conflicts %v, want one of kind %s", policy, got, c.kind)
				}
				res, err := p.Apply(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Conflicts) != 1 || res.Conflicts[0] != p.Conflicts()[0] {
					t.Errorf("policy %d: got %v, foreseen were %v", policy, res.Conflicts, p.Conflicts())
				}
				r.want(c.want[policy]...)
				r.clean()
			}
		})
	}
}

func TestAppendToAppended(t *testing.T) {
	r := newReal(t)
	r.write("log", "one\n")
	base := r.pin()
	d, chunks := oneFile(base, "log", 4, "clone\n")
	r.write("log", "one\ndevice\n")
	res := r.apply(r.config(base), d, chunks)
	r.want("log=one\ndevice\n", "log (clone's version 2026-05-04 1)=one\nclone\n")
	if len(res.Conflicts) != 1 || res.Conflicts[0].Mixed {
		t.Errorf("got %v, want one that is not mixed", res.Conflicts)
	}
	ino := base.byPath["log"].Ino
	if got := res.Paths[ino]; got != "log (clone's version 2026-05-04 1)" {
		t.Errorf("the clone's file stands at %q", got)
	}
}

func TestRunningProgramIsDenied(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	b, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	r := newReal(t)
	r.write("prog", string(b))
	if err := os.Chmod(r.path("prog"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := r.pin()
	cmd := exec.Command(r.path("prog"), "1000")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	d, chunks := oneFile(base, "prog", 0, "clone")
	if f, err := os.OpenFile(r.path("prog"), os.O_RDWR, 0); err == nil {
		_ = f.Close()
		t.Skip("a running program can be written here")
	}
	res := r.apply(r.config(base), d, chunks)
	r.want("prog="+string(b), "prog (clone's version 2026-05-04 1)=clone")
	if len(res.Conflicts) != 1 || res.Conflicts[0].Kind != KindDenied {
		t.Errorf("got %v, want one that is denied", res.Conflicts)
	}
	if fi, err := os.Stat(r.path(res.Conflicts[0].Aside)); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("got %v, %v", fi.Mode(), err)
	}
}

func TestSecretsStaySecretAside(t *testing.T) {
	r := newReal(t)
	r.write("key", "secret")
	if err := os.Chmod(r.path("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []Policy{KeepBoth, CloneWins} {
		base := r.pin()
		d, chunks := oneFile(base, "key", 0, "clone's secret")
		r.write("key", "device's secret")
		cfg := r.config(base)
		cfg.Policy = policy
		res := r.apply(cfg, d, chunks)
		fi, err := os.Stat(r.path(res.Conflicts[0].Aside))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("policy %d: got %v, %v", policy, fi, err)
		}
	}
}

func TestAsideName(t *testing.T) {
	long := strings.Repeat("ä", 127)
	for _, c := range []struct{ name, want string }{
		{"a.txt", "a (clone's version D 2).txt"},
		{"a", "a (clone's version D 2)"},
		{".profile", ".profile (clone's version D 2)"},
		{"..x", "..x (clone's version D 2)"},
		{"a.tar.gz", "a.tar (clone's version D 2).gz"},
		{"a.", "a (clone's version D 2)."},
		{long, strings.Repeat("ä", 116) + " (clone's version D 2)"},
		{strings.Repeat("x", 251) + ".txt", strings.Repeat("x", 229) + " (clone's version D 2).txt"},
	} {
		if got := asideName(c.name, ofClone, "D", 2); got != c.want || len(got) > tree.MaxName {
			t.Errorf("%q: got %q of %d bytes, want %q", c.name, got, len(got), c.want)
		}
	}
}

func TestStagingFolderOfOthers(t *testing.T) {
	r := newReal(t)
	r.write("f", "text")
	base := r.pin()
	d, chunks := oneFile(base, "f", 0, "other")
	p, err := Prepare(t.Context(), r.config(base), d, source(chunks))
	if err != nil {
		t.Fatal(err)
	}
	r.write(plan.StagingPrefix+p.id+"/mine", "foreign")
	res, err := p.Apply(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.want("f=other", "mine (device's version 2026-05-04 1)=foreign")
	if len(res.Conflicts) != 1 {
		t.Errorf("got conflicts %v", res.Conflicts)
	}
	r.clean()
}
