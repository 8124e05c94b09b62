package chunkstore

import (
	"context"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

const benchChunk = 64 << 10

func benchObjects(n int) []tree.Object {
	all := make([]tree.Object, n)
	for i := range all {
		all[i] = object(uint64(i), benchChunk)
	}
	return all
}

func benchKeys(b *testing.B, f func(b *testing.B, key []byte)) {
	b.Run("clear", func(b *testing.B) { f(b, nil) })
	b.Run("sealed", func(b *testing.B) { f(b, testKey) })
}

// BenchmarkGet reads chunks of 64 KiB that the page cache has.
func BenchmarkGet(b *testing.B) {
	benchKeys(b, func(b *testing.B, key []byte) {
		s := openStore(b, testFolder(b, b.TempDir()), options(b, key, nil))
		all := benchObjects(512)
		put(b, s, all...)
		flush(b, s)
		buf := make([]byte, benchChunk+64)
		for name, memory := range map[string][]byte{"new_memory": nil, "own_memory": buf} {
			b.Run(name, func(b *testing.B) {
				b.SetBytes(benchChunk)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if _, err := s.GetInto(context.Background(), all[i%len(all)].ID, memory); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkPut stores 256 new chunks of 64 KiB and waits until they are durable.
func BenchmarkPut(b *testing.B) {
	benchKeys(b, func(b *testing.B, key []byte) {
		s := openStore(b, testFolder(b, b.TempDir()), options(b, key, nil))
		const batch = 256
		b.SetBytes(batch * benchChunk)
		seed := 0
		for b.Loop() {
			b.StopTimer()
			var all []tree.Object
			for range batch {
				all = append(all, object(uint64(seed), benchChunk))
				seed++
			}
			b.StartTimer()
			put(b, s, all...)
			flush(b, s)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkHas asks for 1000 objects, half of which are there.
func BenchmarkHas(b *testing.B) {
	s := openStore(b, testFolder(b, b.TempDir()), options(b, testKey, nil))
	ids := make([]tree.ID, 1000)
	for i := range ids {
		o := object(uint64(i), 100)
		ids[i] = o.ID
		if i%2 == 0 {
			put(b, s, o)
		}
	}
	flush(b, s)
	b.ReportAllocs()
	for b.Loop() {
		s.Has(ids)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen opens a folder of 20,000 objects and lists it.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := openStore(b, testFolder(b, dir), options(b, testKey, nil))
	for i := range 20_000 {
		put(b, s, object(uint64(i), 16))
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s := openStore(b, testFolder(b, dir), Options{Key: testKey, Grace: time.Hour})
		if got := s.Stats().Objects; got != 20_000 {
			b.Fatalf("%d objects", got)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
