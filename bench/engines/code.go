package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/bench/measure"
	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

// code measures compiling a clone's code, and having it from disk.
func code(ctx context.Context, o *options) ([]*measure.Table, error) {
	t := newTable("code", "a clone's code: made, and loaded from disk by another engine of the kind; wall time",
		"module", "KB", "engine", "compile ms", "keep ms", "kept KB", "load ms")
	t.Note("Medians of %d rounds, on as many processors as the engine takes. load: from the system's file cache, until it can be instantiated. "+
		"keep: in a file, without authentication. Wazero keeps what it compiles by itself, as it compiles; an interpreter keeps nothing.", o.rounds)
	n, err := o.builder()
	if err != nil {
		return nil, err
	}
	modules := []struct {
		name string
		bin  []byte
	}{{"fib (C)", programs.Wasm("fib")}, {"rust-tree (Rust)", programs.Wasm("rust-tree")}}
	if !o.quick {
		bin, err := n.goModule(ctx)
		if err != nil {
			return nil, err
		}
		modules = append(modules, struct {
			name string
			bin  []byte
		}{"gowork (Go)", bin})
	}
	for _, m := range modules {
		if !strings.Contains(m.name, o.filter) {
			continue
		}
		variant, err := rewritten(m.bin)
		if err != nil {
			return []*measure.Table{t}, fmt.Errorf("%s: %w", m.name, err)
		}
		for _, kind := range o.kinds {
			var compiled, kept, loaded []float64
			size := 0.0
			for range o.rounds {
				dir, err := os.MkdirTemp(o.scratch, "code")
				if err != nil {
					return nil, err
				}
				c, err := codeOnce(ctx, kind, variant, dir)
				if err != nil {
					return []*measure.Table{t}, fmt.Errorf("%s, %s: %w", m.name, kind, err)
				}
				compiled, kept, loaded, size = append(compiled, c.compile), append(kept, c.keep), append(loaded, c.load), c.size
			}
			row := []any{m.name, float64(len(m.bin)) / 1e3, kind, measure.Median(compiled)}
			switch {
			case size == 0:
				row = append(row, "", "", "")
			case measure.Median(kept) == 0: // as it compiles
				row = append(row, "", size/1e3, measure.Median(loaded))
			default:
				row = append(row, measure.Median(kept), size/1e3, measure.Median(loaded))
			}
			t.Add(row...)
		}
	}
	return []*measure.Table{t}, nil
}

// rewritten is a clone's code of a module.
func rewritten(bin []byte) ([]byte, error) {
	m, err := wasm.Decode(bin)
	if err != nil {
		return nil, err
	}
	cs, err := candidates(m)
	if err != nil {
		return nil, err
	}
	r, err := rewrite.Rewrite(m, rewriting(cloned, cs))
	if err != nil {
		return nil, err
	}
	return r.Binary, nil
}

// codeTimes are milliseconds, and bytes on disk; 0 bytes: the engine keeps nothing.
type codeTimes struct{ compile, keep, load, size float64 }

// codeOnce compiles with one engine and loads with another.
func codeOnce(ctx context.Context, kind string, bin []byte, dir string) (t codeTimes, err error) {
	eng, err := engines.New(kind, dir)
	if err != nil {
		return t, err
	}
	begin := time.Now()
	m, err := eng.Compile(ctx, bin)
	if err != nil {
		return t, err
	}
	t.compile = ms(begin)
	file := ""
	if c, ok := eng.(engine.Coder); ok {
		file = filepath.Join(dir, "code")
		begin = time.Now()
		b, err := c.Encode(m)
		if err != nil {
			return t, err
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return t, err
		}
		t.keep = ms(begin)
	}
	if err := m.Close(ctx); err != nil {
		return t, err
	}
	if err := eng.Close(ctx); err != nil {
		return t, err
	}
	if t.size, err = sizeOf(dir); err != nil || t.size == 0 {
		return t, err
	}
	if eng, err = engines.New(kind, dir); err != nil {
		return t, err
	}
	begin = time.Now()
	if c, ok := eng.(engine.Coder); ok {
		m, err = c.Load(ctx, bin, file)
	} else {
		m, err = eng.Compile(ctx, bin)
	}
	if err != nil {
		return t, err
	}
	t.load = ms(begin)
	if err := m.Close(ctx); err != nil {
		return t, err
	}
	return t, eng.Close(ctx)
}

func ms(since time.Time) float64 { return float64(time.Since(since)) / 1e6 }

// sizeOf is how many bytes the files of a folder have.
func sizeOf(dir string) (n float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += float64(info.Size())
		}
		return err
	})
	return n, err
}
