package main

import (
	_ "embed"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// readerWasm is src/reader.c, a library that reads files below /data.
//
//go:embed reader.wasm
var readerWasm []byte

// digested is what the reader's functions come to.
type digested struct {
	sum          uint64
	bytes, files uint64
}

// listFiles returns the paths of regular files below dir as the reader sorts them.
func listFiles(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, name) // of a path below dir it never fails
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// scanned is what the reader's scan must come to.
func scanned(dir string) (digested, error) {
	names, err := listFiles(dir)
	if err != nil {
		return digested{}, err
	}
	return digestAll(dir, names)
}

// sampled is what the reader's sample must come to.
func sampled(dir string, seed uint64, permille int) (digested, error) {
	names, err := listFiles(dir)
	if err != nil || len(names) == 0 {
		return digested{}, err
	}
	some := min(max(len(names)*permille/1000, 1), len(names))
	state := seed
	for i := range some {
		at := i + int(splitmix(&state)%uint64(len(names)-i))
		names[i], names[at] = names[at], names[i]
	}
	return digestAll(dir, names[:some])
}

func digestAll(dir string, names []string) (d digested, err error) {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return d, err
		}
		d.sum += digest(b)
		d.bytes += uint64(len(b))
		d.files++
	}
	return d, nil
}

// digest is FNV-1a over words of eight bytes, the last one filled up with zeros, and over the length.
func digest(b []byte) uint64 {
	const prime = 1099511628211
	h, size := uint64(14695981039346656037), uint64(len(b))
	for len(b) > 0 {
		var word [8]byte
		n := copy(word[:], b)
		h = (h ^ binary.LittleEndian.Uint64(word[:])) * prime
		b = b[n:]
	}
	return (h ^ size) * prime
}

func splitmix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
