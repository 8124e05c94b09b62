package linmem

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const benchSize = 1 << 30

// benchMemory is a memory of which every page is there and tracked.
func benchMemory(b *testing.B, tracker Tracker) *Memory {
	b.Helper()
	if tracker == Userfault && !userfaultWorks() {
		b.Skip("userfaultfd does not work here")
	}
	m := newMemory(b, benchSize, benchSize, Options{Tracker: tracker})
	for at := 0; at < benchSize; at += PageSize {
		m.Bytes()[at] = 1
	}
	track(b, m)
	return m
}

// dirtyPages picks 1 % of the pages: single ones, or runs of 64.
func dirtyPages(run uint32) *PageSet {
	var set PageSet
	r := rand.New(rand.NewPCG(1, 2))
	for set.Len() < benchSize/PageSize/100 {
		p := r.Uint32N(benchSize/PageSize-run) / run * run
		set.AddRange(p, p+run)
	}
	return &set
}

func copyPages(dst, src []byte, set *PageSet) {
	for p := range set.All() {
		at := uint64(p) * PageSize
		n := copy(dst, src[at:at+PageSize])
		dst = dst[n:]
	}
}

func quantile(d []float64, q float64) float64 {
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

// BenchmarkCapture finds and copies out 1 % dirty pages of 1 GiB, and in turn only copies the same pages, dirtied in
// the same way. It reports the ratio of the medians, and the ratio of each pair at the 10th and 90th percentile.
func BenchmarkCapture(b *testing.B) {
	for _, tracker := range []Tracker{Userfault, Compare} {
		for _, pattern := range []struct {
			name string
			run  uint32
		}{{"single-pages", 1}, {"runs-of-64", 64}} {
			b.Run(tracker.String()+"/"+pattern.name, func(b *testing.B) {
				m := benchMemory(b, tracker)
				want := dirtyPages(pattern.run)
				out := make([]byte, want.Len()*PageSize)
				copyPages(out, m.Bytes(), want)
				var set PageSet
				var capture, plain, find, ratio []float64
				for b.Loop() {
					dirty(m, want)
					start := time.Now()
					set.Clear()
					if err := m.Collect(&set); err != nil {
						b.Fatal(err)
					}
					found := time.Since(start)
					copyPages(out, m.Bytes(), &set)
					captured := time.Since(start)
					if set.Len() != want.Len() {
						b.Fatalf("%d pages, want %d", set.Len(), want.Len())
					}

					dirty(m, want)
					start = time.Now()
					copyPages(out, m.Bytes(), want)
					copied := time.Since(start)
					if err := m.Forget(); err != nil {
						b.Fatal(err)
					}
					capture = append(capture, captured.Seconds()*1e6)
					find = append(find, found.Seconds()*1e6)
					plain = append(plain, copied.Seconds()*1e6)
					ratio = append(ratio, captured.Seconds()/copied.Seconds())
				}
				b.ReportMetric(0, "ns/op") // of no meaning: holds the preparation
				b.ReportMetric(quantile(capture, 0.5), "capture-us")
				b.ReportMetric(quantile(find, 0.5), "collect-us")
				b.ReportMetric(quantile(plain, 0.5), "copy-us")
				b.ReportMetric(quantile(capture, 0.5)/quantile(plain, 0.5), "x-copy")
				b.ReportMetric(quantile(ratio, 0.1), "x-copy-p10")
				b.ReportMetric(quantile(ratio, 0.9), "x-copy-p90")
			})
		}
	}
}

func dirty(m *Memory, set *PageSet) {
	b := m.Bytes()
	for p := range set.All() {
		b[uint64(p)*PageSize+100]++
	}
}

// BenchmarkTrack begins to track 1 GiB: all of it there, or nothing.
func BenchmarkTrack(b *testing.B) {
	for _, tracker := range []Tracker{Userfault, Compare} {
		for _, touched := range []bool{true, false} {
			name := tracker.String() + "/untouched"
			if touched {
				name = tracker.String() + "/touched"
			}
			b.Run(name, func(b *testing.B) {
				if tracker == Userfault && !userfaultWorks() {
					b.Skip("userfaultfd does not work here")
				}
				m := newMemory(b, benchSize, benchSize, Options{Tracker: tracker})
				for at := 0; touched && at < benchSize; at += PageSize {
					m.Bytes()[at] = 1
				}
				for b.Loop() {
					track(b, m)
					b.StopTimer()
					if err := m.Untrack(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkWrite writes one byte to each page of 64 MiB, just after Collect, and again.
func BenchmarkWrite(b *testing.B) {
	const size = 64 << 20
	for _, tracker := range []Tracker{None, Userfault, Compare} {
		for _, first := range []bool{true, false} {
			name := tracker.String() + "/again"
			if first {
				name = tracker.String() + "/first"
			}
			b.Run(name, func(b *testing.B) {
				if tracker == Userfault && !userfaultWorks() {
					b.Skip("userfaultfd does not work here")
				}
				m := newMemory(b, size, size, Options{Tracker: tracker})
				if tracker != None {
					track(b, m)
				}
				bytes := m.Bytes()
				write := func() {
					for at := 0; at < size; at += PageSize {
						bytes[at]++
					}
				}
				write()
				for b.Loop() {
					if first && tracker != None {
						b.StopTimer()
						if err := m.Forget(); err != nil {
							b.Fatal(err)
						}
						b.StartTimer()
					}
					write()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(size/PageSize), "ns/page")
			})
		}
	}
}

// BenchmarkGrow grows by one unit at a time.
func BenchmarkGrow(b *testing.B) {
	for _, tracker := range []Tracker{None, Userfault} {
		b.Run(tracker.String(), func(b *testing.B) {
			var m *Memory
			for b.Loop() {
				if m == nil || m.Size() == m.Max() {
					b.StopTimer()
					m = newMemory(b, 0, benchSize, Options{Tracker: tracker})
					if tracker != None {
						if err := m.Track(); err != nil {
							b.Skip(err)
						}
					}
					b.StartTimer()
				}
				m.Grow(m.Size() + Unit)
			}
		})
	}
}

// BenchmarkView makes a view, writes a page, and drops it.
func BenchmarkView(b *testing.B) {
	for _, size := range []uint64{1 << 20, 64 << 20, 1 << 30} {
		b.Run(fmt.Sprintf("%d-MiB", size>>20), func(b *testing.B) {
			m := filled(b, size)
			for b.Loop() {
				v, err := m.View()
				if err != nil {
					b.Fatal(err)
				}
				v.Bytes()[0] = 2
				if err := v.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTrackView begins to track a fresh view of memory that holds something everywhere.
func BenchmarkTrackView(b *testing.B) {
	for _, size := range []uint64{1 << 20, 10 << 20, 64 << 20} {
		for _, tracker := range []Tracker{Userfault, Compare} {
			b.Run(fmt.Sprintf("%v/%d-MiB", tracker, size>>20), func(b *testing.B) {
				if tracker == Userfault && !userfaultWorks() {
					b.Skip("userfaultfd does not work here")
				}
				m := filled(b, size)
				for b.Loop() {
					b.StopTimer()
					v, err := m.ViewWith(Options{Tracker: tracker})
					if err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					track(b, v)
					b.StopTimer()
					if err := v.Close(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkNew makes and drops an empty memory of the largest maximum.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		m, err := New(Unit, MaxSize, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
