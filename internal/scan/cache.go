package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The cache is a bbolt file with a bucket for each tree, under the SHA-256 of what identifies it. In it are the records
// of directories (record.go) under their numbers (u64, big-endian), and two shorter keys:
//
//	gen   u64, counts how often the bucket was written, so that one process notices another
//	use   u64, when it was used last, in seconds since 1970
//
// The bucket "format" has the version of all this under the key "v".

const (
	cacheFormat = "clonecloud scan 1"
	// patience bounds the wait for another process that has the file.
	patience = 300 * time.Millisecond
	// A tree that was not used for so long is forgotten; its use is noted once in so often.
	forgetAfter = 180 * 24 * time.Hour
	noteEvery   = 24 * time.Hour
)

var (
	bucketFormat = []byte("format")
	keyFormat    = []byte("v")
	keyGen       = []byte("gen")
	keyUse       = []byte("use")
)

var errFormat = errors.New("written by another version")

// cached is the record of a directory, decoded when it is asked for.
type cached struct {
	raw  []byte
	once sync.Once
	m    *image
	err  error
}

func (c *cached) image() (*image, error) {
	c.once.Do(func() { c.m, c.err = decodeImage(c.raw) })
	return c.m, c.err
}

// store is what a Tree knows of its part of the cache.
type store struct {
	gen    uint64
	used   time.Time
	loaded map[uint64]*cached // until the first update is done
	saved  map[uint64]*image  // what the records hold; nil: nothing is known of one
}

func (t *Tree) bucket() []byte {
	sum := sha256.Sum256([]byte(t.key))
	return sum[:]
}

// withCache opens the cache, runs fn on it and closes it. The file is mapped into memory, and may be damaged, even cut off: a
// panic or a fault of the library is an error here, and leaves nothing locked.
func (t *Tree) withCache(readOnly bool, fn func(*bbolt.DB) error) (err error) {
	var file *os.File
	var db *bbolt.DB
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w: %v", errDamaged, x)
		}
		if err != nil && file != nil {
			unlock(file) // the mapping may hold the file, and with it the lock
			_ = file.Close()
		}
	}()
	db, err = bbolt.Open(t.o.Cache, 0o600, &bbolt.Options{
		ReadOnly: readOnly, Timeout: patience,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(fn(db), db.Close())
}

// load reads the records of this tree, if there are any.
func (t *Tree) load() {
	if t.o.Cache == "" {
		return
	}
	if fi, err := os.Stat(t.o.Cache); err != nil || fi.Size() == 0 {
		return
	}
	err := t.withCache(true, func(db *bbolt.DB) error { return db.View(t.read) })
	switch {
	case errors.Is(err, berrors.ErrTimeout):
	case err != nil:
		t.store = store{}
		t.o.Log("%s: what was known of %s is not used: %v", t.o.Cache, t.name, err)
	}
}

func (t *Tree) read(tx *bbolt.Tx) error {
	f := tx.Bucket(bucketFormat)
	if f == nil || string(f.Get(keyFormat)) != cacheFormat {
		return errFormat
	}
	b := tx.Bucket(t.bucket())
	if b == nil {
		return nil
	}
	t.store.loaded = map[uint64]*cached{}
	return b.ForEach(func(k, v []byte) error {
		switch {
		case len(k) == 8:
			t.store.loaded[binary.BigEndian.Uint64(k)] = &cached{raw: bytes.Clone(v)}
		case bytes.Equal(k, keyGen) && len(v) == 8:
			t.store.gen = binary.BigEndian.Uint64(v)
		case bytes.Equal(k, keyUse) && len(v) == 8:
			t.store.used = time.Unix(int64(binary.BigEndian.Uint64(v)), 0)
		}
		return nil
	})
}

// taken is called when the first update is done: the records have been compared with what there is.
func (t *Tree) taken() {
	if t.store.loaded == nil {
		return
	}
	t.store.saved = map[uint64]*image{}
	damaged := 0
	for ino, c := range t.store.loaded {
		t.store.saved[ino] = c.m
		if c.err != nil {
			damaged++
		}
	}
	if damaged > 0 {
		t.o.Log("%s: %d records of %s were damaged and are made anew", t.o.Cache, damaged, t.name)
	}
	t.store.loaded = nil
}

// Save writes what is known to the cache, so that another process need not read the files again. If one has the cache
// now, nothing is written, and nothing is lost but that knowledge.
func (t *Tree) Save() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save()
}

func (t *Tree) save() error {
	if t.o.Cache == "" || t.closed || t.root == nil || t.root.img == nil {
		return nil
	}
	if err := t.update(context.Background(), false); err != nil {
		return fmt.Errorf("save what is known of %s: %w", t.name, err)
	}
	now := map[uint64]*image{}
	t.root.img.gather(now)
	same := len(now) == len(t.store.saved) && time.Since(t.store.used) < noteEvery
	for ino, m := range now {
		same = same && t.store.saved[ino] == m
	}
	if same {
		return nil
	}
	err := t.writeCache(now)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil
	case err != nil:
		return fmt.Errorf("save what is known of %s: %w", t.name, err)
	}
	t.store.saved, t.store.used = now, time.Now()
	return nil
}

func (m *image) gather(all map[uint64]*image) {
	if m.apart {
		return
	}
	all[m.self.ino] = m
	for _, c := range m.children {
		c.gather(all)
	}
}

func (t *Tree) writeCache(now map[uint64]*image) error {
	if err := os.MkdirAll(filepath.Dir(t.o.Cache), 0o700); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := t.withCache(false, func(db *bbolt.DB) error {
			return db.Update(func(tx *bbolt.Tx) error { return t.write(tx, now) })
		})
		if err == nil || try > 0 || !isDamage(err) {
			return err
		}
		t.o.Log("%s: made anew: %v", t.o.Cache, err)
		if err := os.Remove(t.o.Cache); err != nil {
			return err
		}
		t.store = store{}
	}
}

// isDamage tells whether an error is of what is in the file: neither of the system nor of another process.
func isDamage(err error) bool {
	var errno syscall.Errno
	return !errors.Is(err, berrors.ErrTimeout) && !errors.As(err, &errno)
}

func (t *Tree) write(tx *bbolt.Tx, now map[uint64]*image) error {
	f, err := tx.CreateBucketIfNotExists(bucketFormat)
	if err != nil {
		return err
	}
	if v := f.Get(keyFormat); v != nil && string(v) != cacheFormat {
		return errFormat
	}
	if err := errors.Join(f.Put(keyFormat, []byte(cacheFormat)), forget(tx)); err != nil {
		return err
	}
	b := tx.Bucket(t.bucket())
	if b != nil && !isNumber(b.Get(keyGen), t.store.gen) {
		// Another process has written it: its records and ours do not make one tree.
		if err := tx.DeleteBucket(t.bucket()); err != nil {
			return err
		}
		b = nil
	}
	if b == nil {
		if b, err = tx.CreateBucket(t.bucket()); err != nil {
			return err
		}
		t.store.saved = nil
	}
	for ino := range t.store.saved {
		if now[ino] == nil {
			if err := b.Delete(number(ino)); err != nil {
				return err
			}
		}
	}
	for ino, m := range now {
		if was := t.store.saved[ino]; was != m {
			if err := b.Put(number(ino), m.appendTo(nil)); err != nil {
				return err
			}
		}
	}
	t.store.gen++
	return errors.Join(b.Put(keyGen, number(t.store.gen)), b.Put(keyUse, number(uint64(time.Now().Unix()))))
}

// forget drops the trees that were not used for long.
func forget(tx *bbolt.Tx) error {
	var old [][]byte
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		v := b.Get(keyUse)
		if len(v) == 8 && time.Since(time.Unix(int64(binary.BigEndian.Uint64(v)), 0)) > forgetAfter {
			old = append(old, bytes.Clone(name))
		}
		return nil
	})
	for _, name := range old {
		err = errors.Join(err, tx.DeleteBucket(name))
	}
	return err
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func isNumber(b []byte, n uint64) bool { return bytes.Equal(b, number(n)) }
