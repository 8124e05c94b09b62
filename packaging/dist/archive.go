package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file to pack.
type entry struct {
	name  string // in the archive, with slashes
	path  string // on disk
	exec  bool
	linux bool // for archives of Linux alone
}

func (e entry) mode() os.FileMode {
	if e.exec {
		return 0o755
	}
	return 0o644
}

// archive packs a binary with the files that go along: zip for Windows, tar.gz for the others.
func (r *release) archive(p platform, binary string, files []entry) error {
	name := r.base(p)
	program := entry{name: "clonecloud", path: binary, exec: true}
	write, suffix := writeTar, ".tar.gz"
	if p.os == "windows" {
		program.name += ".exe"
		write, suffix = writeZip, ".zip"
	}
	var in []entry
	for _, e := range append(files, program) {
		if !e.linux || p.os == "linux" {
			e.name = name + "/" + e.name
			in = append(in, e)
		}
	}
	return create(filepath.Join(r.out, name+suffix), func(w io.Writer) error { return write(w, in, r.time()) })
}

// base is how files for a platform are called.
func (r *release) base(p platform) string {
	name := fmt.Sprintf("clonecloud_%s_%s_%s", strings.TrimPrefix(r.version, "v"), p.os, p.arch)
	if p.wasmtime {
		name += "_wasmtime"
	}
	return name
}

// create writes a file.
func create(path string, write func(io.Writer) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	return write(f)
}

func sorted(in []entry) []entry {
	return slices.SortedFunc(slices.Values(in), func(a, b entry) int { return cmp.Compare(a.name, b.name) })
}

// writeTar writes a tar.gz whose bytes depend on names, modes and contents alone.
func writeTar(w io.Writer, in []entry, at time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, e := range sorted(in) {
		b, err := os.ReadFile(e.path)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(b)), Mode: int64(e.mode()), ModTime: at}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := t.Write(b); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// writeZip is the same as a zip.
func writeZip(w io.Writer, in []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range sorted(in) {
		b, err := os.ReadFile(e.path)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode())
		f, err := z.CreateHeader(h)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := f.Write(b); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return z.Close()
}

// writeGzip writes a file as gzip -9n does.
func writeGzip(w io.Writer, b []byte) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = z.Write(b)
	return errors.Join(err, z.Close())
}

// checksums writes SHA256SUMS, as sha256sum -c reads it.
func checksums(dir string) error {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, f := range files {
		if f.Name() == marker {
			continue
		}
		sum, err := hash(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sum, f.Name())
	}
	return os.WriteFile(filepath.Join(dir, marker), []byte(text.String()), 0o644)
}

func hash(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return h.Sum(nil), nil
}
