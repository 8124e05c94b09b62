// Package used remembers which files of a directory tree programs have used, so that these are brought to a node first.
// There is one small file for each tree. What is remembered makes things faster and nothing else: a file that is
// damaged, or that cannot be read, is as good as none.
//
// A file is
//
//	4 bytes  "CCU1"
//	uvarint  number of paths
//	each     uvarint length and bytes of the path, uvarint second of the last use since 1970, uvarint number of uses
//	4 bytes  CRC-32C of all before, little-endian
//
// with the paths in ascending order.
package used

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Bounds of what is remembered of one tree; what was used longest ago goes first. maxTrees bounds the files of a folder.
const (
	maxPaths = 100_000
	maxBytes = 16 << 20
	maxTrees = 1000
)

const (
	magic = "CCU1"
	sum   = 4  // bytes of the checksum
	least = 3  // bytes of a path with its numbers
	most  = 20 // bytes of two numbers and a length, at most, beside the path
)

// use is what is known of one path.
type use struct {
	path  string
	last  uint64 // seconds since 1970
	count uint64
}

var errDamaged = errors.New("damaged record of used files")

// Note adds that files of a tree were used just now. dir is the folder for all trees, treeDir the directory; paths are
// slash-separated and below it. Of two processes that note at the same instant, what one of them says may be lost.
func Note(dir, treeDir string, paths []string) error { return note(dir, treeDir, paths, time.Now()) }

// noting keeps the processes of one program from losing each other's words.
var noting sync.Mutex

func note(dir, treeDir string, paths []string, now time.Time) error {
	if len(paths) == 0 {
		return nil
	}
	noting.Lock()
	defer noting.Unlock()
	name, err := file(dir, treeDir)
	if err != nil {
		return fmt.Errorf("note used files of %s: %w", treeDir, err)
	}
	known := map[string]use{}
	for _, u := range read(name) {
		known[u.path] = u
	}
	at := uint64(max(now.Unix(), 0))
	for _, p := range paths {
		if !tree.ValidPath(p) || p == "" {
			continue
		}
		u := known[p]
		if u.count < math.MaxUint32 {
			u.count++
		}
		u.path, u.last = p, max(u.last, at)
		known[p] = u
	}
	list := make([]use, 0, len(known))
	for _, u := range known {
		list = append(list, u)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("note used files of %s: %w", treeDir, err)
	}
	if _, err := os.Lstat(name); err != nil {
		atomicfile.MakeRoom(dir, maxTrees, maxTrees-1, nil)
	}
	if err := atomicfile.Write(name, encode(list), 0o600); err != nil {
		return fmt.Errorf("note used files of %s: %w", treeDir, err)
	}
	return nil
}

// List returns the files of a tree that were used, the latest first; of those used at the same time, the one used more often.
func List(dir, treeDir string) []string {
	name, err := file(dir, treeDir)
	if err != nil {
		return nil
	}
	list := read(name)
	slices.SortFunc(list, latest)
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].path
	}
	return paths
}

func latest(a, b use) int {
	return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(b.count, a.count), cmp.Compare(a.path, b.path))
}

// file is where a tree's record stands: by where the tree really is.
func file(dir, treeDir string) (string, error) {
	real, err := filepath.EvalSymlinks(treeDir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return "", err
	}
	h := sha256.Sum256([]byte(real))
	return filepath.Join(dir, hex.EncodeToString(h[:16])), nil
}

// read returns what a file holds, nothing if it is not there, too large or damaged.
func read(name string) []use {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil || len(b) > maxBytes {
		return nil
	}
	list, err := decode(b)
	if err != nil {
		return nil
	}
	return list
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode makes the contents of a file of the latest that there is room for.
func encode(list []use) []byte {
	slices.SortFunc(list, latest)
	size := len(magic) + most + sum
	for i := range list {
		if size += len(list[i].path) + most; i == maxPaths || size > maxBytes {
			list = list[:i]
			break
		}
	}
	slices.SortFunc(list, func(a, b use) int { return strings.Compare(a.path, b.path) })
	b := binary.AppendUvarint([]byte(magic), uint64(len(list)))
	for _, u := range list {
		b = binary.AppendUvarint(b, uint64(len(u.path)))
		b = append(b, u.path...)
		b = binary.AppendUvarint(b, u.last)
		b = binary.AppendUvarint(b, u.count)
	}
	return append(b, checksum(b)...)
}

func checksum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}

func decode(b []byte) ([]use, error) {
	n := len(b) - sum
	if n < len(magic) || string(b[:len(magic)]) != magic || string(checksum(b[:n])) != string(b[n:]) {
		return nil, errDamaged
	}
	r := reader{b: b[len(magic):n]}
	count := r.uint()
	if count > uint64(min(len(r.b)/least, maxPaths)) {
		return nil, errDamaged
	}
	list := make([]use, 0, count)
	before := ""
	for range count {
		u := use{path: r.text(), last: r.uint(), count: r.uint()}
		if r.bad || !tree.ValidPath(u.path) || u.path <= before {
			return nil, errDamaged
		}
		before = u.path
		list = append(list, u)
	}
	if len(r.b) > 0 || r.bad {
		return nil, errDamaged
	}
	return list, nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
