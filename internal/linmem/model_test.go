package linmem

import (
	"bytes"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// model is a memory that is slow and plainly right.
type model struct {
	data     []byte
	base     []byte          // what data was when tracking began anew; nil when not tracking
	written  map[uint32]bool // pages written since, whether or not they changed
	tracking bool
}

func (o *model) write(at int, data []byte) {
	copy(o.data[at:], data)
	for p := at / PageSize; p <= (at+len(data)-1)/PageSize; p++ {
		o.written[uint32(p)] = true
	}
}

func (o *model) rearm() {
	o.base, o.written = bytes.Clone(o.data), map[uint32]bool{}
}

// check compares a collected set: all that changed is in it, and nothing that was not written.
func (o *model) check(t *rapid.T, m *Memory, got *PageSet) {
	per := uint32(1)
	if m.TrackerName() == Userfault.String() {
		per = uint32(os.Getpagesize() / PageSize)
	}
	for p := range uint32(len(o.data) / PageSize) {
		lo, hi := int(p)*PageSize, int(p+1)*PageSize
		old := zeroPage[:]
		if hi <= len(o.base) {
			old = o.base[lo:hi]
		}
		if !bytes.Equal(old, o.data[lo:hi]) && !got.Has(p) {
			t.Fatalf("page %d changed and is not reported", p)
		}
		if got.Has(p) {
			written := false
			for q := p / per * per; q < (p/per+1)*per; q++ {
				written = written || o.written[q]
			}
			if !written {
				t.Fatalf("page %d was not written and is reported", p)
			}
		}
	}
	if top, ok := got.Max(); ok && int(top) >= len(o.data)/PageSize {
		t.Fatalf("page %d is beyond the memory", top)
	}
}

func TestAgainstModel(t *testing.T) {
	const maxUnits = 48 // more than a page table's 2 MiB
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 1000)); err != nil {
		t.Fatal(err)
	}
	for _, tracker := range []Tracker{Userfault, Compare} {
		if tracker == Userfault && !userfaultWorks() {
			continue
		}
		rapid.Check(t, func(r *rapid.T) {
			units := rapid.Uint64Range(0, 40).Draw(r, "units")
			mk := makers[rapid.IntRange(0, len(makers)-1).Draw(r, "maker")]
			m := mk.make(r, units*Unit, maxUnits*Unit, tracker)
			o := &model{data: make([]byte, units*Unit), written: map[uint32]bool{}}
			spot := func(r *rapid.T, n int) int {
				if rapid.Bool().Draw(r, "edge") { // around the border of a page
					p := rapid.IntRange(0, len(o.data)/PageSize).Draw(r, "page")
					return min(max(p*PageSize-n/2, 0), len(o.data)-n)
				}
				return rapid.IntRange(0, len(o.data)-n).Draw(r, "at")
			}
			r.Repeat(map[string]func(*rapid.T){
				"write": func(r *rapid.T) {
					data := rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(r, "data")
					if len(o.data) == 0 {
						r.Skip()
					}
					at := spot(r, len(data))
					copy(m.Bytes()[at:], data)
					o.write(at, data)
				},
				"fill": func(r *rapid.T) {
					if len(o.data) == 0 {
						r.Skip()
					}
					n := rapid.IntRange(1, min(len(o.data), 20*PageSize)).Draw(r, "n")
					data := bytes.Repeat([]byte{rapid.Byte().Draw(r, "byte")}, n)
					at := spot(r, n)
					copy(m.Bytes()[at:], data)
					o.write(at, data)
				},
				"read-file": func(r *rapid.T) {
					if len(o.data) == 0 {
						r.Skip()
					}
					n := rapid.IntRange(1, 20000).Draw(r, "n")
					at := spot(r, n)
					got, err := file.ReadAt(m.Bytes()[at:at+n], int64(rapid.IntRange(0, 15000).Draw(r, "offset")))
					if err != nil || got != n {
						r.Fatalf("read %d of %d: %v", got, n, err)
					}
					o.write(at, bytes.Clone(m.Bytes()[at:at+n]))
				},
				"grow": func(r *rapid.T) {
					to := rapid.Uint64Range(0, maxUnits+2).Draw(r, "to") * Unit
					ok := to >= uint64(len(o.data)) && to <= maxUnits*Unit
					if m.Grow(to) != ok {
						r.Fatalf("grow from %d to %d: %v", len(o.data), to, !ok)
					}
					if ok {
						o.data = append(o.data, make([]byte, to-uint64(len(o.data)))...)
					}
				},
				"collect": func(r *rapid.T) {
					var got PageSet
					if err := m.Collect(&got); (err == nil) != o.tracking {
						r.Fatal(err)
					}
					if o.tracking {
						o.check(r, m, &got)
						o.rearm()
					}
				},
				"forget-pages": func(r *rapid.T) {
					var set PageSet
					for p := range o.written {
						set.Add(p)
					}
					if n := len(o.data) / PageSize; n > 0 {
						for range rapid.IntRange(0, 60).Draw(r, "others") {
							set.Add(uint32(rapid.IntRange(0, n-1).Draw(r, "page")))
						}
					}
					if err := m.ForgetPages(&set); (err == nil) != o.tracking {
						r.Fatal(err)
					}
					if o.tracking {
						o.rearm()
					}
				},
				"track": func(r *rapid.T) {
					if err := m.Track(); err != nil {
						r.Fatal(err)
					}
					o.tracking = true
					o.rearm()
				},
				"forget": func(r *rapid.T) {
					if err := m.Forget(); (err == nil) != o.tracking {
						r.Fatal(err)
					}
					if o.tracking {
						o.rearm()
					}
				},
				"untrack": func(r *rapid.T) {
					if err := m.Untrack(); err != nil {
						r.Fatal(err)
					}
					o.tracking = false
				},
				"view": func(r *rapid.T) {
					v, err := m.View()
					if err != nil {
						r.Fatal(err)
					}
					if !bytes.Equal(v.Bytes(), o.data) {
						r.Fatal("a view differs")
					}
					for i := 0; i < len(v.Bytes()); i += 5 * PageSize {
						v.Bytes()[i]++
					}
					if err := v.Close(); err != nil {
						r.Fatal(err)
					}
				},
				"": func(r *rapid.T) {
					if !bytes.Equal(m.Bytes(), o.data) {
						r.Fatal("contents differ")
					}
				},
			})
		})
	}
}
