// Package store keeps a node's modules and compiled code on disk: caches by hash that many processes share.
//
// A file is there whole or not at all, and is checked when it is read: a module against its hash, code against a MAC,
// since code is executed as it stands. What is damaged is removed and counts as absent; what is not ours in the folder
// is left alone. Over a quota the least recently used go, by modification times, which reading renews.
//
// A sealed file of code, all numbers little-endian:
//
//	 0   8  magic "CCLDCODE"
//	 8   4  version, 1
//	12   4  number of files, at most 1024
//	16  32  id, the SHA-256 of the module
//	48  32  HMAC-SHA-256, under the node's key, of all bytes before and after it
//	80      the files: u16 length of the name, name, u64 length, content
//
// A file of code that is mapped as it lies there has the code first, and at its end, all numbers little-endian:
//
//	 0   8  magic "CCLDMAPD"
//	 8   4  version, 1
//	12   8  length of the code, at least 1
//	20  32  id, the SHA-256 of the module
//	52  32  SHA-256 of meta, which names the engines that can take it
//	84  32  salt, random
//	116 32  HMAC-SHA-256 of bytes 0 to 115 and of the tags of each 256 KiB of the code, in order
//
// A tag is that of AES-256-GCM with nothing to encrypt, the chunk being the additional data and its offset, big-endian,
// the nonce. Both keys, the cipher's first, are HKDF-SHA-256 of the node's key and the salt.
package store

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
)

// MaxFile is the length of the longest file that is kept.
const MaxFile = 1 << 30

// ErrQuota is matched by what saving returns of something that is larger than the whole quota.
var ErrQuota = errors.New("larger than the quota")

// staleTemp is how old a half-written file is before it counts as left behind.
const staleTemp = time.Hour

// LoadKey loads the node's key for sealing from the file at path, or makes it. Nobody else may be able to read it.
func LoadKey(path string) ([32]byte, error) {
	k, err := atomicfile.Key(path)
	if err != nil {
		return k, fmt.Errorf("load key for code: %w", err)
	}
	return k, nil
}

// folder is a folder of files named by hashes. Its methods may be called by many goroutines and processes.
type folder struct {
	dir    string
	suffix string
	beside string // the suffix of others' files in the same folder, under the same quota; "": there are none
	quota  uint64
	write  func(path string, data []byte, perm fs.FileMode) error

	mu sync.Mutex // one of us at a time makes room
}

func openFolder(dir, suffix, beside string, quota uint64) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &folder{dir: dir, suffix: suffix, beside: beside, quota: quota, write: atomicfile.Write}
	f.makeRoom(0, "")
	return f, nil
}

func (f *folder) name(id [32]byte) string { return hex.EncodeToString(id[:]) + f.suffix }
func (f *folder) path(id [32]byte) string { return filepath.Join(f.dir, f.name(id)) }

func (f *folder) has(id [32]byte) bool {
	info, err := os.Lstat(f.path(id))
	return err == nil && info.Mode().IsRegular()
}

// open opens a file, and returns its length. What cannot be a file of ours is removed.
func (f *folder) open(id [32]byte) (*os.File, int64, error) {
	path := f.path(id)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		f.remove(id)
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, 0, err
	}
	if info, err = file.Stat(); err == nil && (!info.Mode().IsRegular() || info.Size() > MaxFile) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist} // another one by now
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// load returns a file as it is.
func (f *folder) load(id [32]byte) ([]byte, error) {
	file, size, err := f.open(id)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, size)
	if _, err := io.ReadFull(file, b); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil // one that shrank has zeros at its end, and does not pass its check
}

// used says that a file was of use just now.
func (f *folder) used(id [32]byte) {
	now := time.Now()
	_ = os.Chtimes(f.path(id), now, now) // at worst it goes earlier than it should
}

// save puts a file in place and makes room for it first.
func (f *folder) save(id [32]byte, data []byte) error {
	return f.put(id, uint64(len(data)), func(path string) error { return f.write(path, data, 0o600) })
}

// put makes room for a file of size bytes, and has write put it in place.
func (f *folder) put(id [32]byte, size uint64, write func(path string) error) error {
	if size > MaxFile {
		return fmt.Errorf("%d bytes: more than %d", size, MaxFile)
	}
	if f.quota != 0 && size > f.quota {
		return fmt.Errorf("%d bytes: %w of %d", size, ErrQuota, f.quota)
	}
	f.makeRoom(size, f.name(id))
	path := f.path(id)
	err := write(path)
	if err != nil {
		if info, e := os.Lstat(path); e == nil && info.IsDir() { // nothing of ours is a folder
			f.remove(id)
			err = write(path)
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk of %s is full: %w", f.dir, err)
	}
	if err == nil {
		f.used(id) // the system's stamp is of a coarser clock, and may be before that of a use a moment ago
	}
	return err
}

// remove takes away whatever has this file's name.
func (f *folder) remove(id [32]byte) { _ = os.RemoveAll(f.path(id)) }

type entry struct {
	name string
	size uint64
	used time.Time
}

// makeRoom removes the least recently used files until size more bytes are within the quota, and what writers that
// ended early have left. A file named keep is about to be replaced and does not count. Errors do not matter: others may
// do the same at the same time, and what cannot be removed now is tried again later.
func (f *folder) makeRoom(size uint64, keep string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	var files []entry
	total := size
	for _, d := range list {
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		switch name := d.Name(); {
		case strings.HasPrefix(name, atomicfile.TempPrefix):
			if time.Since(info.ModTime()) > staleTemp {
				_ = os.Remove(filepath.Join(f.dir, name))
			}
		case f.ours(name) && name != keep:
			files = append(files, entry{name, uint64(info.Size()), info.ModTime()})
			total += uint64(info.Size())
		}
	}
	if f.quota == 0 {
		return
	}
	slices.SortFunc(files, func(a, b entry) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.name, b.name))
	})
	for _, e := range files {
		if total <= f.quota {
			return
		}
		if os.Remove(filepath.Join(f.dir, e.name)) == nil {
			total -= e.size
		}
	}
}

func (f *folder) ours(name string) bool {
	id, ok := strings.CutSuffix(name, f.suffix)
	if !ok && f.beside != "" {
		id, ok = strings.CutSuffix(name, f.beside)
	}
	if !ok || len(id) != 64 {
		return false
	}
	_, err := hex.DecodeString(id)
	return err == nil && strings.ToLower(id) == id
}

// writeUnsynced puts parts at path, in place of what is there, which those who have it open keep. Nobody writes to the
// file afterwards. After a crash it may be damaged.
func writeUnsynced(path string, parts ...[]byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), atomicfile.TempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	for _, b := range parts {
		if _, err = f.Write(b); err != nil {
			break
		}
	}
	if err == nil && runtime.GOOS != "windows" { // where what cannot be written can neither be removed
		err = f.Chmod(0o400)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
