package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/store"
)

// coder is an engine whose code is text.
type coder struct {
	id                 string
	compiling          func(bin []byte) // optional
	encoded            error
	compiles, loads    atomic.Int32
	encodes, unencoded atomic.Int32 // now, and of closed modules
}

type coderModule struct {
	engine.Module
	bin    []byte
	closed atomic.Bool
}

func (m *coderModule) Close(context.Context) error {
	if m.closed.Swap(true) {
		return errors.New("closed twice")
	}
	return nil
}

func (c *coder) Name() string                { return "coder" }
func (c *coder) CodeID() string              { return c.id }
func (c *coder) Close(context.Context) error { return nil }

func (c *coder) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	c.compiles.Add(1)
	if c.compiling != nil {
		c.compiling(bin)
	}
	if string(bin) == "bad" {
		return nil, errors.New("it is bad")
	}
	return &coderModule{bin: bin}, ctx.Err()
}

func (c *coder) Encode(m engine.Module) ([]byte, error) {
	if c.encodes.Add(1) > 1 {
		return nil, errors.New("two at a time")
	}
	defer c.encodes.Add(-1)
	if m.(*coderModule).closed.Load() {
		c.unencoded.Add(1)
	}
	return fmt.Appendf(nil, "code for %s: %s", c.id, m.(*coderModule).bin), c.encoded
}

func (c *coder) Load(_ context.Context, bin []byte, path string) (engine.Module, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, fmt.Appendf(nil, "code for %s: %s", c.id, bin)) {
		return nil, errors.New("no code for this engine")
	}
	c.loads.Add(1)
	return &coderModule{bin: bin}, nil
}

// another makes what another worker would have, with the code in the same folder.
func another(t *testing.T, e engine.Engine, folder string, l *logged) *sealed {
	t.Helper()
	s := newSealed(e, t.TempDir(), l.log)
	var err error
	if s.code, err = store.OpenCode(folder, [32]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	return s
}

func compile(t *testing.T, s *sealed, bin string) engine.Module {
	t.Helper()
	m, err := s.Compile(t.Context(), []byte(bin))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// settled closes an engine.
func settled(t *testing.T, s *sealed) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(folder, "*.mapped"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestSealedCoder(t *testing.T) {
	folder, l := t.TempDir(), &logged{}
	first := &coder{id: "1"}
	s := another(t, first, folder, l)
	for _, bin := range []string{"one", "two"} {
		if err := compile(t, s, bin).Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	settled(t, s)
	if n := len(files(t, folder)); n != 2 || first.compiles.Load() != 2 || first.unencoded.Load() != 0 {
		t.Fatalf("%d files after %d compilations, %d encoded when closed", n, first.compiles.Load(), first.unencoded.Load())
	}
	second := &coder{id: "1"}
	s = another(t, second, folder, l)
	for range 2 {
		if m := compile(t, s, "one"); string(m.(*coderModule).bin) != "one" {
			t.Error("the code is of another module")
		}
	}
	settled(t, s)
	if second.compiles.Load() != 0 || second.loads.Load() != 2 {
		t.Errorf("%d compilations, %d loads, want 0, 2", second.compiles.Load(), second.loads.Load())
	}
	other := &coder{id: "2"}
	s = another(t, other, folder, l)
	compile(t, s, "one")
	settled(t, s)
	if n := len(files(t, folder)); other.compiles.Load() != 1 || other.loads.Load() != 0 || n != 3 {
		t.Errorf("another version: %d compilations, %d loads, %d files", other.compiles.Load(), other.loads.Load(), n)
	}
	if _, err := another(t, second, folder, l).Compile(t.Context(), []byte("bad")); err == nil {
		t.Error("compiled what cannot be")
	}
	if l.text() != "" {
		t.Errorf("logged %s", l.text())
	}
}

func TestSealedCoderRefuses(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *sealed, path string){
		"damaged": func(t *testing.T, _ *sealed, path string) {
			b, err := os.ReadFile(path)
			if err == nil {
				b[0]++
				err = errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"sealed nonsense": func(t *testing.T, s *sealed, _ string) {
			if err := s.code.Put(s.id([]byte("one")), "1", []byte("nonsense")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder, l := t.TempDir(), &logged{}
			s := another(t, &coder{id: "1"}, folder, l)
			compile(t, s, "one")
			settled(t, s)
			damage(t, s, files(t, folder)[0])
			for round, want := range []int32{1, 0} {
				c := &coder{id: "1"}
				s = another(t, c, folder, l)
				compile(t, s, "one")
				settled(t, s)
				if got := c.compiles.Load(); got != want {
					t.Errorf("round %d: %d compilations, want %d", round, got, want)
				}
			}
			if said := strings.Contains(l.text(), "of no use"); said != (name == "sealed nonsense") {
				t.Errorf("logged %q", l.text())
			}
		})
	}
}

// TestSealedCoderTurn: one module is compiled at a time, and code that is there does not wait for it.
func TestSealedCoderTurn(t *testing.T) {
	folder, l := t.TempDir(), &logged{}
	s := another(t, &coder{id: "1"}, folder, l)
	compile(t, s, "here")
	settled(t, s)

	began, release := make(chan string), make(chan struct{})
	c := &coder{id: "1", compiling: func(bin []byte) { began <- string(bin); <-release }}
	s = another(t, c, folder, l)
	var wg sync.WaitGroup
	for _, bin := range []string{"long", "long"} {
		wg.Go(func() { compile(t, s, bin) })
	}
	<-began
	if compile(t, s, "here"); c.loads.Load() != 1 {
		t.Error("it was not loaded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Compile(ctx, []byte("more")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of one that no longer waits", err)
	}
	if c.compiles.Load() != 1 {
		t.Errorf("%d are compiled at a time", c.compiles.Load())
	}
	close(release)
	go func() {
		for range began { // the second may find the code of the first, or not
		}
	}()
	wg.Wait()
	settled(t, s)
	close(began)
	if n := len(files(t, folder)); n != 2 {
		t.Errorf("%d files", n)
	}
}

func TestSealedCoderCannotKeep(t *testing.T) {
	l := &logged{}
	s := another(t, &coder{id: "1", encoded: errors.New("no words for it")}, t.TempDir(), l)
	compile(t, s, "one")
	settled(t, s)
	if !strings.Contains(l.text(), "no words for it") {
		t.Errorf("logged %q", l.text())
	}
	l = &logged{}
	folder := filepath.Join(t.TempDir(), "folder")
	s = another(t, &coder{id: "1"}, folder, l)
	if err := errors.Join(os.Remove(folder), os.WriteFile(folder, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	compile(t, s, "one")
	settled(t, s)
	if !strings.Contains(l.text(), "put code") {
		t.Errorf("logged %q", l.text())
	}
}

// answer is a module whose exported function f returns 42.
const answer = "\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00\x0a\x06\x01\x04\x00\x41\x2a\x0b"

// answers wants that a module is the one above, and closes it.
func answers(t *testing.T, m engine.Module) {
	t.Helper()
	inst, err := m.Instantiate(t.Context(), engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	stack := make([]uint64, 1)
	if err := inst.Func("f").Call(t.Context(), stack); err != nil || stack[0] != 42 {
		t.Errorf("got %d, %v", stack[0], err)
	}
	if err := errors.Join(inst.Close(t.Context()), m.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestSealedFiles: an engine that is no Coder has files in its folder only while it reads or writes them.
func TestSealedFiles(t *testing.T) {
	folder, l := t.TempDir(), &logged{}
	var before int
	for round := range 2 {
		dir := t.TempDir()
		e, err := wazero.New(wazero.Options{Mode: wazero.Compiler, CacheDir: dir})
		if errors.Is(err, engine.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := newSealed(e, dir, l.log)
		if s.code, err = store.OpenCode(folder, [32]byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		answers(t, compile(t, s, answer))
		if left := s.files(); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
		settled(t, s)
		kept, _ := filepath.Glob(filepath.Join(folder, "*.code"))
		if round > 0 && len(kept) != before || len(kept) == 0 {
			t.Errorf("round %d: %d files of code, %d before", round, len(kept), before)
		}
		before = len(kept)
	}
	if l.text() != "" {
		t.Errorf("logged %s", l.text())
	}
}
