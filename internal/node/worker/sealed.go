package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/clonecloud/clonecloud/internal/clone"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/store"
)

// sealed is an engine whose compiled code is shared between workers, through a store that seals it. An engine.Coder maps
// code as it lies in the store. Another engine keeps code in a folder of this worker's, and trusts it; code comes there,
// and goes from there.
type sealed struct {
	engine.Engine
	coder engine.Coder // nil: it is none
	dir   string
	code  *store.Code   // nil: nothing is shared
	turn  chan struct{} // held while a module is compiled
	log   func(format string, args ...any)
}

func newSealed(e engine.Engine, dir string, log func(string, ...any)) *sealed {
	s := &sealed{Engine: e, dir: dir, turn: make(chan struct{}, 1), log: log}
	s.coder, _ = e.(engine.Coder)
	return s
}

// Compile implements engine.Engine. One module is compiled at a time; one whose code a Coder finds does not wait for that.
func (s *sealed) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	switch {
	case s.code == nil:
		return s.Engine.Compile(ctx, bin)
	case s.coder != nil:
		return s.compileMapped(ctx, bin)
	}
	if err := clone.Long(ctx, s.wait); err != nil {
		return nil, err
	}
	defer s.done()
	return s.compileFiles(ctx, bin)
}

// wait waits for the turn to compile, which ends with done.
func (s *sealed) wait(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sealed) done() { <-s.turn }

// id names the code of a module: that of another engine is another one.
func (s *sealed) id(bin []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(s.Name() + "\x00"))
	h.Write(bin)
	return [32]byte(h.Sum(nil))
}

// compileMapped loads the code from the store, or compiles it and puts it there.
func (s *sealed) compileMapped(ctx context.Context, bin []byte) (engine.Module, error) {
	id := s.id(bin)
	if m := s.load(ctx, id, bin); m != nil {
		return m, nil
	}
	if err := clone.Long(ctx, s.wait); err != nil {
		return nil, err
	}
	defer s.done()
	if m := s.load(ctx, id, bin); m != nil { // who had the turn before, here or in another worker, may have made it
		return m, nil
	}
	m, err := s.coder.Compile(ctx, bin)
	if err != nil {
		return nil, err
	}
	s.keep(id, m)
	return m, nil
}

// load returns a module of verified code, or nil.
func (s *sealed) load(ctx context.Context, id [32]byte, bin []byte) engine.Module {
	c, err := s.code.Open(id, s.coder.CodeID())
	if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
		return nil
	}
	if err != nil {
		s.log("read compiled code: %v", err) // then it is compiled
		return nil
	}
	m, err := s.coder.Load(ctx, bin, c.Path())
	if e := c.Close(); e != nil {
		s.log("%v", e)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log("compiled code of %x is of no use, and compiled anew: %v", id[:4], err)
			s.code.Remove(id, s.coder.CodeID())
		}
		return nil
	}
	return m
}

// keep puts the code of a module into the store, in a sixtieth of the time that it took to compile: whoever waits for the
// code may be gone a moment after it has it, and this process with it.
func (s *sealed) keep(id [32]byte, m engine.Module) {
	code, err := s.coder.Encode(m)
	if err == nil {
		err = s.code.Put(id, s.coder.CodeID(), code)
	}
	if err != nil {
		s.log("keep compiled code of %x: %v", id[:4], err)
	}
}

// compileFiles compiles with files of code in the private folder, where the engine finds those that are there before,
// and leaves new ones. Preconditions: the turn is held, so that what is new in the folder is this module's code.
func (s *sealed) compileFiles(ctx context.Context, bin []byte) (engine.Module, error) {
	id := s.id(bin)
	if _, err := s.code.Fetch(id, s.dir); err != nil {
		s.log("fetch compiled code: %v", err) // then it is compiled
	}
	before := s.files()
	m, err := s.Engine.Compile(ctx, bin)
	if err == nil {
		var made []string
		for name := range s.files() {
			if !before[name] {
				made = append(made, name)
			}
		}
		if len(made) > 0 {
			if err := s.code.Keep(id, s.dir, made); err != nil {
				s.log("keep compiled code: %v", err)
			}
		}
	}
	// The engine has it in memory, and the store on disk: a third time, beyond all quota, is too much.
	for name := range s.files() {
		if err := os.Remove(filepath.Join(s.dir, filepath.FromSlash(name))); err != nil {
			s.log("remove private copy of compiled code: %v", err)
		}
	}
	return m, err
}

// files lists the folder, by names with slashes.
func (s *sealed) files() map[string]bool {
	names := map[string]bool{}
	_ = fs.WalkDir(os.DirFS(s.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names[path] = true
		}
		return nil // what cannot be read is not shared
	})
	return names
}
