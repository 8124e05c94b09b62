package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/linmem"
	"github.com/clonecloud/clonecloud/internal/migrate"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// workshop makes instances of one program.
type workshop struct {
	t    *testing.T
	prog *migrate.Program
}

func newWorkshop(t *testing.T, eng engine.Engine, bin []byte, opt rewrite.Options) (*workshop, error) {
	t.Helper()
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, err
	}
	prog, err := migrate.Prepare(t.Context(), eng, migrate.Identity(bin), m, opt)
	return &workshop{t, prog}, err
}

func interpreter(t *testing.T) engine.Engine {
	t.Helper()
	eng, err := wazero.New(wazero.Options{Mode: wazero.Interpreter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := eng.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return eng
}

// linkage serves every import of a module.
func (w *workshop) linkage() migrate.Linkage {
	hosts, err := migrate.HostsOf(w.prog.Original, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return migrate.Linkage{WASI: &wasi.Process{State: wasi.NewState(nil, nil, [32]byte{})}, Hosts: hosts}
}

func (w *workshop) start(l migrate.Linkage) *migrate.Process {
	w.t.Helper()
	p, err := w.prog.Start(w.t.Context(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// end closes the program before the instances, which nobody should do, and whose memories must not mind.
func (w *workshop) end(procs ...*migrate.Process) {
	w.t.Helper()
	ctx := context.Background()
	err := w.prog.Close(ctx)
	for _, p := range procs {
		if p.Mem != nil && p.Mem.Size() > 0 {
			_ = p.Mem.Bytes()[p.Mem.Size()-1]
		}
		err = errors.Join(err, p.Inst.Close(ctx))
	}
	if err != nil {
		w.t.Error(err)
	}
}

// overlapping is a module whose segments lie over each other, zeros among them.
func overlapping() []byte {
	m := wasm.Module{Memories: []wasm.Limits{{Min: 4}}}
	for _, d := range []struct {
		at   int32
		data []byte
	}{
		{4000, bytes.Repeat([]byte{1}, 9000)},
		{4096, make([]byte, 4096)},
		{5000, []byte("here")},
		{5001, make([]byte, 2)},
		{100000, make([]byte, 20000)},
		{4<<16 - 3, []byte("end")},
		{4 << 16, nil},
	} {
		m.Data = append(m.Data, wasm.Data{Offset: wasm.AppendOp(wasm.AppendI32Const(nil, d.at), wasm.OpEnd), Init: d.data})
	}
	return m.Encode()
}

// TestSharedImage: an instance whose initial memory is shared has what one has whose engine makes it, nothing of it counts
// as written, and what it writes is its own.
func TestSharedImage(t *testing.T) {
	bins := map[string][]byte{"process": processWasm, "bare": bareWasm, "overlapping": overlapping()}
	for _, pattern := range []string{"../../bench/programs/*.wasm", "../../examples/*/*.wasm"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if bins[filepath.Base(file)], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	eng := interpreter(t)
	shared := 0
	for name, bin := range bins {
		t.Run(name, func(t *testing.T) {
			plain, err := newWorkshop(t, eng, bin, rewrite.Options{})
			if errors.As(err, new(*rewrite.StayError)) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			w, err := newWorkshop(t, eng, bin, rewrite.Options{Detach: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(w.prog.Manifest.Image) > 0 {
				shared++
			}
			own := plain.start(plain.linkage())
			defer plain.end(own)
			var procs []*migrate.Process
			defer func() { w.end(procs...) }()
			for i, tracker := range []linmem.Tracker{linmem.Auto, linmem.Compare, linmem.None} {
				l := w.linkage()
				l.Tracker = tracker
				p := w.start(l)
				procs = append(procs, p)
				same(t, own, p)
				if p.MemBytes() == 0 {
					continue
				}
				clear(p.Mem.Bytes()[:linmem.PageSize])
				p.Mem.Bytes()[17] = byte(i + 1) // for the next to see, or not
				if tracker == linmem.None {
					continue
				}
				var set linmem.PageSet
				if err := p.Mem.Collect(&set); err != nil {
					t.Fatal(err)
				}
				if set.AndNot(hostPage()); !set.Empty() {
					t.Errorf("%v: %d pages count as written", tracker, set.Len())
				}
				if p.Mem.Bytes()[17]++; p.Mem.Collect(&set) != nil || !set.Has(0) {
					t.Errorf("%v: a write was not noticed", tracker)
				}
			}
		})
	}
	if shared < 20 {
		t.Errorf("only %d programs had something to share", shared)
	}
}

// hostPage is the first of the host's pages.
func hostPage() *linmem.PageSet {
	var set linmem.PageSet
	set.AddRange(0, uint32(max(os.Getpagesize(), linmem.PageSize)/linmem.PageSize))
	return &set
}

// TestSharedImageLimit: the limit of one instance is not that of the others, and growth is each one's own.
func TestSharedImageLimit(t *testing.T) {
	w, err := newWorkshop(t, interpreter(t), processWasm, rewrite.Options{Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	l := w.linkage()
	l.MemoryLimit = linmem.Unit
	for range 2 {
		if _, err := w.prog.Start(t.Context(), l); err == nil || !strings.Contains(err.Error(), "no room for 131072 bytes, the limit is 65536") {
			t.Errorf("started within a limit that is too low: %v", err)
		}
		l.MemoryLimit = 0
		a := w.start(l)
		l.MemoryLimit = 3 * linmem.Unit
		b := w.start(l)
		if before, ok := a.Inst.Grow(2); !ok || before != 2 || a.MemBytes() != 4*linmem.Unit || b.MemBytes() != 2*linmem.Unit {
			t.Errorf("grown to %d, the other one has %d", a.MemBytes(), b.MemBytes())
		}
		if got := run(t, b, "grow", 1); got != 2 || b.Mem.Withheld(3*linmem.Unit) || !b.Mem.Withheld(4*linmem.Unit) {
			t.Errorf("grow from %d pages; the limit is not kept", got)
		}
		if err := errors.Join(a.Inst.Close(t.Context()), b.Inst.Close(t.Context())); err != nil {
			t.Error(err)
		}
		l.MemoryLimit = linmem.Unit
	}
	w.end()
}

// TestStartAtOnce starts many instances side by side.
func TestStartAtOnce(t *testing.T) {
	w, err := newWorkshop(t, interpreter(t), processWasm, rewrite.Options{Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	procs := make([]*migrate.Process, 16)
	for i := range procs {
		l := w.linkage()
		group.Go(func() {
			p, err := w.prog.Start(context.Background(), l)
			if err != nil {
				t.Error(err)
				return
			}
			procs[i] = p
			b := p.Mem.Bytes()
			if !bytes.Equal(b[8192:8200], []byte("in place")) {
				t.Errorf("memory holds %q", b[8192:8200])
			}
			b[8192] = byte(i)
		})
	}
	group.Wait()
	for i, p := range procs {
		if p != nil && p.Mem.Bytes()[8192] != byte(i) {
			t.Errorf("instance %d holds %d", i, p.Mem.Bytes()[8192])
		}
	}
	w.end(procs...)
}
