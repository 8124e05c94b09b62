package worker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/clone/choose"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/store"
)

// Engines says which engines a worker has.
type Engines struct {
	// Kinds are what a kind of engine, as a node is told it, stands for here, the preferred one first.
	Kinds func(kind string) []string
	// New makes an engine; cacheDir is a folder of its own for compiled code.
	New func(kind, cacheDir string) (engine.Engine, error)
}

// makeEngines makes the engines of the kind that the setup names. One of several that cannot be made is left out.
func (w *worker) makeEngines() error {
	base := filepath.Join(w.setup.Dir, "code")
	if err := os.Mkdir(base, 0o700); err != nil {
		return fmt.Errorf("make folder for code: %w", err)
	}
	var errs []error
	for i, kind := range w.engines.Kinds(w.setup.Engine) {
		cache := filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(cache, 0o700); err != nil {
			return fmt.Errorf("make folder for code: %w", err)
		}
		eng, err := w.engines.New(kind, cache)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.engs = append(w.engs, newSealed(eng, cache, w.log))
	}
	if len(w.engs) == 0 {
		return fmt.Errorf("make engine: %w", errors.Join(errs...))
	}
	for _, err := range errs {
		w.log("an engine is left out: %v", err)
	}
	return nil
}

// openCode has all engines share compiled code with other workers.
func (w *worker) openCode(dir string, key [32]byte, quota uint64) error {
	code, err := store.OpenCode(dir, key, quota)
	if err != nil {
		return err
	}
	for _, e := range w.engs {
		e.code = code
	}
	return nil
}

// hostEngines are the engines as a clone.Host takes them.
func (w *worker) hostEngines() (list []engine.Engine) {
	for _, e := range w.engs {
		list = append(list, e)
	}
	return list
}

// names are the engines' names.
func (w *worker) names() (list []string) {
	for _, e := range w.engs {
		list = append(list, e.Name())
	}
	return list
}

// CodeID tells engines of one name apart, "" where the engine does not tell.
func (s *sealed) CodeID() string {
	if s.coder == nil {
		return ""
	}
	return s.coder.CodeID()
}

// measures keeps what is measured of engines, a small file for each module, in a folder that workers share. What it says
// makes clones faster or slower and nothing else: a file that is damaged is as good as none.
type measures struct{ dir string }

const (
	measuresSuffix = ".json"
	mostMeasures   = 4096 // files
)

func (m measures) path(module [32]byte) string {
	return filepath.Join(m.dir, hex.EncodeToString(module[:])+measuresSuffix)
}

// Load implements clone.Measures.
func (m measures) Load(module [32]byte) []byte {
	path := m.path(module)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil // a pipe would hold up who opens it
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, choose.MaxFigures+1))
	if err != nil || len(b) > choose.MaxFigures {
		return nil
	}
	return b
}

// Save implements clone.Measures.
func (m measures) Save(module [32]byte, figures []byte) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	path := m.path(module)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		atomicfile.MakeRoom(m.dir, mostMeasures, mostMeasures*3/4, func(name string) bool {
			return strings.HasSuffix(name, measuresSuffix) || strings.HasPrefix(name, atomicfile.TempPrefix)
		})
	}
	return atomicfile.Write(path, figures, 0o600)
}
