package worker

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/store"
)

// sealed is an engine whose compiled code is shared between workers. The engine itself keeps code in a folder of this
// worker's, and trusts it; code comes there, and goes from there, through a store that seals it.
type sealed struct {
	engine.Engine
	dir  string
	code *store.Code // nil: nothing is shared
	turn chan struct{}
	log  func(format string, args ...any)
}

func newSealed(e engine.Engine, dir string, log func(string, ...any)) *sealed {
	return &sealed{Engine: e, dir: dir, turn: make(chan struct{}, 1), log: log}
}

// Compile implements engine.Engine. One module is compiled at a time: what is new in the folder then is its code.
func (s *sealed) Compile(ctx context.Context, bin []byte) (engine.Module, error) {
	if s.code == nil {
		return s.Engine.Compile(ctx, bin)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Code is another's after another engine's compilation of the same module.
	h := sha256.New()
	h.Write([]byte(s.Name() + "\x00"))
	h.Write(bin)
	id := [32]byte(h.Sum(nil))
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
