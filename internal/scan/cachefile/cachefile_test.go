package cachefile

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put saves records and returns the generation, and whether the set was made anew.
func put(t testing.TB, path, name string, gen uint64, records map[uint64]string) (now uint64, anew bool) {
	t.Helper()
	now, damage, err := Save(path, name, gen, func(w Writer, a bool) error {
		anew = a
		for n, r := range records {
			if err := w.Put(n, []byte(r)); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, errors.Join(damage, err))
	return now, anew
}

func load(t testing.TB, path, name string) Set {
	t.Helper()
	s, err := Load(path, name)
	must(t, err)
	return s
}

func numbers(s Set) []uint64 { return slices.Sorted(maps.Keys(s.Records)) }

func TestSets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "cache")
	if s := load(t, path, "a"); s.Records != nil {
		t.Errorf("got %v of no file", s)
	}
	gen, anew := put(t, path, "a", 0, map[uint64]string{1: "one", 1 << 60: "large"})
	if gen != 1 || !anew {
		t.Errorf("generation %d, anew %v", gen, anew)
	}
	put(t, path, "b", 0, map[uint64]string{7: "seven"})
	if s := load(t, path, "a"); !slices.Equal(numbers(s), []uint64{1, 1 << 60}) || string(s.Records[1]) != "one" || s.Gen != 1 || s.Used.IsZero() {
		t.Errorf("got %+v", s)
	}
	if gen, anew = put(t, path, "a", gen, map[uint64]string{2: "two"}); gen != 2 || anew {
		t.Errorf("generation %d, anew %v", gen, anew)
	}
	if s := load(t, path, "a"); !slices.Equal(numbers(s), []uint64{1, 2, 1 << 60}) {
		t.Errorf("got %+v", s)
	}
	// Somebody who has not seen the last one.
	if gen, anew = put(t, path, "a", 1, map[uint64]string{3: "three"}); gen != 2 || !anew {
		t.Errorf("generation %d, anew %v", gen, anew)
	}
	if s := load(t, path, "a"); !slices.Equal(numbers(s), []uint64{3}) {
		t.Errorf("got %+v", s)
	}
	if s := load(t, path, "b"); !slices.Equal(numbers(s), []uint64{7}) {
		t.Errorf("got %+v", s)
	}
}

func TestWhollyOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	gen, _ := put(t, path, "a", 0, map[uint64]string{1: "one"})
	why := os.ErrPermission
	_, _, err := Save(path, "a", gen, func(w Writer, _ bool) error { return errors.Join(w.Delete(1), w.Put(2, nil), why) })
	if !errors.Is(err, why) {
		t.Fatalf("got %v, want the caller's error", err)
	}
	if s := load(t, path, "a"); !slices.Equal(numbers(s), []uint64{1}) {
		t.Errorf("got %+v", s)
	}
}

func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	put(t, path, "a", 0, nil)
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	if _, err := Load(path, "a"); !errors.Is(err, ErrBusy) {
		t.Errorf("Load: got %v, want ErrBusy", err)
	}
	if _, damage, err := Save(path, "a", 0, nil); !errors.Is(err, ErrBusy) || damage != nil {
		t.Errorf("Save: got %v, %v, want ErrBusy", damage, err)
	}
	must(t, db.Close())
	load(t, path, "a")
}

func TestOtherVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	put(t, path, "a", 0, map[uint64]string{1: "one"})
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketFormat).Put(keyFormat, []byte("another")) }))
	must(t, db.Close())
	if _, err := Load(path, "a"); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
	gen, damage, err := Save(path, "a", 1, func(w Writer, anew bool) error {
		if !anew {
			t.Error("not anew")
		}
		return w.Put(2, []byte("two"))
	})
	if !errors.Is(damage, ErrFormat) || err != nil {
		t.Errorf("got %d, %v, %v", gen, damage, err)
	}
	if s := load(t, path, "a"); !slices.Equal(numbers(s), []uint64{2}) || s.Gen != gen {
		t.Errorf("got %+v", s)
	}
}

func TestCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	if _, damage, err := Save(filepath.Join(dir, "file", "cache"), "a", 0, nil); err == nil || damage != nil {
		t.Errorf("got %v, %v", damage, err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "cache"), 0o700))
	if _, damage, err := Save(filepath.Join(dir, "cache"), "a", 0, nil); err == nil || damage != nil {
		t.Errorf("a directory: got %v, %v", damage, err)
	}
}

func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	put(t, path, "old", 0, map[uint64]string{1: "one"})
	put(t, path, "young", 0, map[uint64]string{2: "two"})
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket("old")).Put(keyUse, key(1)) }))
	must(t, db.Close())
	put(t, path, "a", 0, nil)
	if s := load(t, path, "old"); s.Records != nil {
		t.Errorf("got %+v", s)
	}
	if s := load(t, path, "young"); len(s.Records) != 1 {
		t.Errorf("got %+v", s)
	}
}
