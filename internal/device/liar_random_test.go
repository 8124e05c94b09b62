package device_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// TestRandomLiars has clones do harmless things at random, and then spoil a byte of what they bring back, or of the
// bytes on the link. The run ends as one without a cloud.
func TestRandomLiars(t *testing.T) {
	runs := uint64(200)
	if testing.Short() {
		runs = 40
	}
	want := play(t, nil)
	for seed := range runs {
		r := rand.New(rand.NewPCG(seed, 0x11a5))
		c := lie{function: []string{"pure", "work"}[seed%2]}
		c.script = once(func(s *stage) {
			if c.function == "work" {
				for range r.IntN(20) {
					s.harmless(r)
				}
			}
			a := s.answer(5050)
			if c.function == "work" || r.IntN(2) == 0 {
				flip(r, a.Image.WASI)
				if c.function == "work" { // of what it can reach, some would be believed
					a.Image.Base[r.IntN(32)] ^= 1
				}
				s.back(a)
				return
			}
			ms := s.pages(a, 0, 3)
			s.send(a)
			flip(r, ms[0].(*wire.Pages).Data)
			s.send(ms...)
		})
		got := play(t, &c)
		if len(got.log) != 1 || fallbacks(got)["distrust"] != 1 {
			t.Errorf("seed %d: log %q, fallbacks %v", seed, got.log, fallbacks(got))
		}
		c.line, c.reason = broke, "distrust"
		if c.judge(t, want, got); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func flip(r *rand.Rand, b []byte) { b[r.IntN(len(b))] ^= 1 << r.IntN(8) }

// harmless makes a call that changes nothing, whether the program makes it or not.
func (s *stage) harmless(r *rand.Rand) {
	now := wasi.Request{Op: wasi.OpClockTime, Flags: wasi.Monotonic, Monotonic: r.Uint64N(1000)}
	switch r.IntN(5) {
	case 0:
		s.note(now, wasi.Response{Value: 1000 + r.Uint64N(1<<40)})
	case 1:
		s.output(hOut, "")
	case 2:
		s.request(wasi.Request{Op: wasi.OpReadAt, Handle: 1 + r.Uint64N(4), Offset: r.Uint64(), Size: r.Uint64N(100)})
	case 3:
		s.request(wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: string(bytes.Repeat([]byte("../"), r.IntN(4))) + "in", Rights: wasi.RightRead})
	case 4:
		s.request(wasi.Request{Op: wasi.OpOpen, Handle: 1 + r.Uint64N(4), Path: "none", Rights: wasi.Rights(r.Uint64())})
	}
}
