// Package cachefile keeps numbered records in sets, in one file for all processes. It is a cache: what is damaged, of another
// version, or in use by another process is done without.
//
// The file is one of bbolt, with a bucket for each set, under the SHA-256 of its name. In it are the records under their
// numbers (u64, big-endian), and two shorter keys:
//
//	gen   u64, counts how often the set was written, so that one process notices another
//	use   u64, when it was written last, in seconds since 1970
//
// The bucket "format" has the version of all this under the key "v". The records have their own checksums: bbolt's
// pages have none.
package cachefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Errors, to be tested with errors.Is.
var (
	// ErrBusy: another process has the file.
	ErrBusy = errors.New("in use by another process")
	// ErrDamaged: the file does not hold what was written to it.
	ErrDamaged = errors.New("damaged")
	// ErrFormat: the file was written by another version.
	ErrFormat = errors.New("written by another version")
)

const (
	format = "clonecloud scan 1"
	// patience bounds the wait for another process that has the file.
	patience = 300 * time.Millisecond
	// forgetAfter is for how long a set is kept that nobody writes.
	forgetAfter = 180 * 24 * time.Hour
)

var (
	bucketFormat = []byte("format")
	keyFormat    = []byte("v")
	keyGen       = []byte("gen")
	keyUse       = []byte("use")
)

// Set is what a file holds under one name.
type Set struct {
	Gen     uint64
	Used    time.Time
	Records map[uint64][]byte
}

// Load reads a set; it is empty if there is none.
func Load(path, name string) (Set, error) {
	s := Set{}
	if fi, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
		return s, nil
	}
	err := with(path, true, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error { return s.read(tx, name) })
	})
	if err != nil {
		return Set{}, err
	}
	return s, nil
}

func (s *Set) read(tx *bbolt.Tx, name string) error {
	f := tx.Bucket(bucketFormat)
	if f == nil || string(f.Get(keyFormat)) != format {
		return ErrFormat
	}
	b := tx.Bucket(bucket(name))
	if b == nil {
		return nil
	}
	s.Records = map[uint64][]byte{}
	return b.ForEach(func(k, v []byte) error {
		switch {
		case len(k) == 8:
			s.Records[binary.BigEndian.Uint64(k)] = bytes.Clone(v)
		case bytes.Equal(k, keyGen) && len(v) == 8:
			s.Gen = binary.BigEndian.Uint64(v)
		case bytes.Equal(k, keyUse) && len(v) == 8:
			s.Used = time.Unix(int64(binary.BigEndian.Uint64(v)), 0)
		}
		return nil
	})
}

// Writer takes the changes to a set.
type Writer struct{ b *bbolt.Bucket }

// Put writes a record.
func (w Writer) Put(number uint64, record []byte) error { return w.b.Put(key(number), record) }

// Delete removes a record.
func (w Writer) Delete(number uint64) error { return w.b.Delete(key(number)) }

// Save changes a set of which the caller knows generation gen, wholly or not at all. fill writes what is new; all, if the
// set is anew: nobody had one, or another process has written it since. The generation that it has then is returned. damage
// says why the whole file was made anew, if it was.
func Save(path, name string, gen uint64, fill func(w Writer, anew bool) error) (now uint64, damage, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, nil, err
	}
	var own error // of fill: it says nothing about the file
	filled := func(w Writer, anew bool) error {
		own = fill(w, anew)
		return own
	}
	for {
		err := with(path, false, func(db *bbolt.DB) error {
			return db.Update(func(tx *bbolt.Tx) (err error) {
				now, err = write(tx, name, gen, filled)
				return err
			})
		})
		if err == nil || damage != nil || own != nil || !isDamage(err) {
			return now, damage, err
		}
		damage = err
		if err := os.Remove(path); err != nil {
			return 0, damage, err
		}
	}
}

func write(tx *bbolt.Tx, name string, gen uint64, fill func(w Writer, anew bool) error) (uint64, error) {
	f, err := tx.CreateBucketIfNotExists(bucketFormat)
	if err != nil {
		return 0, err
	}
	if v := f.Get(keyFormat); v != nil && string(v) != format {
		return 0, ErrFormat
	}
	if err := errors.Join(f.Put(keyFormat, []byte(format)), forget(tx)); err != nil {
		return 0, err
	}
	b := tx.Bucket(bucket(name))
	anew := b == nil || !bytes.Equal(b.Get(keyGen), key(gen))
	if anew {
		if b != nil {
			if err := tx.DeleteBucket(bucket(name)); err != nil {
				return 0, err
			}
		}
		if b, err = tx.CreateBucket(bucket(name)); err != nil {
			return 0, err
		}
	}
	if err := fill(Writer{b}, anew); err != nil {
		return 0, err
	}
	gen++
	return gen, errors.Join(b.Put(keyGen, key(gen)), b.Put(keyUse, key(uint64(time.Now().Unix()))))
}

// forget drops the sets that were not written for long.
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

// with opens the file, runs fn on it and closes it. The file is mapped into memory, and may be damaged, even cut off: a
// panic or a fault of the library is an error here, and leaves nothing locked.
func with(path string, readOnly bool, fn func(*bbolt.DB) error) (err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, x)
		}
		if err != nil && file != nil {
			unlock(file) // the mapping may hold the file, and with it the lock
			_ = file.Close()
		}
		if errors.Is(err, berrors.ErrTimeout) {
			err = ErrBusy
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
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

// isDamage tells whether an error is of what is in the file: neither of the system nor of another process.
func isDamage(err error) bool {
	var errno syscall.Errno
	return !errors.Is(err, ErrBusy) && !errors.As(err, &errno)
}

func bucket(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
