package wasi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
	"github.com/google/go-cmp/cmp"
)

func sampleRequest() *wasi.Request {
	return &wasi.Request{
		Op: wasi.OpOpen, Handle: 4, Handle2: 1 << 63, Path: "dir/name", Path2: "x", Offset: math.MaxUint64, Size: 77,
		Flags: wasi.FlagFollow, Rights: wasi.RightRead, Inheriting: wasi.FileRights, Atime: 1, Mtime: 2, Realtime: 3,
		Monotonic: 4, Data: []byte("data"),
	}
}

func sampleResponse() *wasi.Response {
	return &wasi.Response{
		Errno: vfs.ENOENT, Handle: 9, N: 4, Value: 1 << 40, Rights: 1, Inheriting: 2, Data: []byte("read"),
		Stat: wasi.Stat{Dev: 1, Ino: 2, Type: vfs.TypeRegular, Nlink: 3, Size: 4, Atime: 5, Mtime: 6, Ctime: 7},
	}
}

func TestRequestRoundTrip(t *testing.T) {
	req := sampleRequest()
	b := req.AppendTo([]byte("before"))[6:]
	var got wasi.Request
	if err := got.Decode(b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(req, &got); d != "" {
		t.Errorf("request changed (-want +got):\n%s", d)
	}
	for n := range b {
		if err := got.Decode(b[:n]); !errors.Is(err, wasi.ErrMalformed) {
			t.Errorf("cut to %d bytes: got %v", n, err)
		}
	}
	var resp wasi.Response
	if err := resp.Decode(sampleResponse().AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleResponse(), &resp); d != "" {
		t.Errorf("response changed (-want +got):\n%s", d)
	}
	if err := resp.Decode(append(sampleResponse().AppendTo(nil), 0)); !errors.Is(err, wasi.ErrMalformed) {
		t.Errorf("a byte too many: got %v", err)
	}
	other := wasi.Request{Op: wasi.OpOther + 3}
	if err := got.Decode(other.AppendTo(nil)); err != nil || got.Op != wasi.OpOther+3 {
		t.Errorf("an operation of others: got %v, %v", got.Op, err)
	}
	other.Op = wasi.NumOps
	if err := got.Decode(other.AppendTo(nil)); !errors.Is(err, wasi.ErrMalformed) {
		t.Errorf("an unknown operation: got %v", err)
	}
}

func TestDigestCoversEachField(t *testing.T) {
	seen := map[[32]byte]int{sampleRequest().Digest(): -1}
	for i, change := range []func(*wasi.Request){
		func(r *wasi.Request) { r.Op++ }, func(r *wasi.Request) { r.Handle++ },
		func(r *wasi.Request) { r.Handle2++ }, func(r *wasi.Request) { r.Path += "x" },
		func(r *wasi.Request) { r.Path, r.Path2 = r.Path+"x", "" }, func(r *wasi.Request) { r.Offset++ },
		func(r *wasi.Request) { r.Size++ }, func(r *wasi.Request) { r.Flags++ }, func(r *wasi.Request) { r.Rights++ },
		func(r *wasi.Request) { r.Inheriting++ }, func(r *wasi.Request) { r.Atime++ }, func(r *wasi.Request) { r.Mtime++ },
		func(r *wasi.Request) { r.Realtime++ }, func(r *wasi.Request) { r.Monotonic++ },
		func(r *wasi.Request) { r.Data = []byte("date") }, func(r *wasi.Request) { r.Data = nil },
	} {
		r := sampleRequest()
		change(r)
		if j, ok := seen[r.Digest()]; ok {
			t.Errorf("changes %d and %d have one digest", i, j)
		}
		seen[r.Digest()] = i
	}
	r := sampleRequest()
	r.Buf = []byte("not input")
	if r.Digest() != sampleRequest().Digest() {
		t.Error("the digest covers the buffer of a read")
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(sampleRequest().AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r wasi.Request
		if r.Decode(b) == nil && !bytes.Equal(r.AppendTo(nil), b) {
			t.Errorf("another encoding: %x of %+v", b, r)
		}
		r.Handles()
	})
}

func FuzzResponse(f *testing.F) {
	f.Add(sampleResponse().AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r wasi.Response
		if r.Decode(b) == nil && !bytes.Equal(r.AppendTo(nil), b) {
			t.Errorf("another encoding: %x of %+v", b, r)
		}
	})
}

func FuzzState(f *testing.F) {
	sys, err := local.New(local.Config{Mounts: []local.Mount{{FS: vfs.NewMem(vfs.MemOptions{}), Guest: "/"}}})
	if err != nil {
		f.Fatal(err)
	}
	s := sys.NewState([]string{"a", "b"}, []string{"K=v"}, [32]byte{1})
	b, err := s.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s wasi.State
		if s.UnmarshalBinary(b) != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("another encoding: %x, %v", again, err)
		}
		s.Rand.Uint64()
		_ = wasi.CheckReturned(&s, s.Clone(), sys.Issued)
	})
}

// FuzzFuncs calls any function with any arguments over any memory: no panic, and nothing beyond memory.
func FuzzFuncs(f *testing.F) {
	f.Add([]byte{26, 1, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0}, []byte("\x10\x00\x00\x00\x04\x00\x00\x00abcd"), false)
	f.Add([]byte{32, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, []byte("f"), true)
	for i := range 46 {
		f.Add(bytes.Repeat([]byte{byte(i), 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 8), []byte("a/b\x00\x00\x00\x00\x08\x00\x00\x00"), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, calls, content []byte, unstable bool) {
		abi := wasi.Preview1
		if unstable {
			abi = wasi.Unstable
		}
		m := newMachine(t, abi, local.Config{Stdin: strings.NewReader("in"), VirtualClock: true})
		fs := wasi.Funcs(m.p, abi)
		m.mem = make([]byte, 1<<16)
		copy(m.mem, content)
		for range 32 {
			if len(calls) == 0 {
				break
			}
			fn := fs[int(calls[0])%len(fs)]
			calls = calls[1:]
			stack := make([]uint64, max(len(fn.Params), 1))
			for i, p := range fn.Params {
				var v [8]byte
				n := 4
				if p == 0x7e {
					n = 8
				}
				calls = calls[copy(v[:n], calls):]
				stack[i] = binary.LittleEndian.Uint64(v[:])
			}
			var exit *wasi.ExitError
			if err := fn.Call(t.Context(), m.mem, stack); err != nil && !errors.As(err, &exit) {
				t.Fatalf("%s: %v", fn.Name, err)
			}
			if len(fn.Results) > 0 && stack[0] >= uint64(vfs.NumErrnos) {
				t.Fatalf("%s: errno %d", fn.Name, stack[0])
			}
		}
		b, err := m.p.State.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := new(wasi.State).UnmarshalBinary(b); err != nil {
			t.Fatalf("the state that it led to: %v", err)
		}
	})
}

// liar is a System that answers with the same thing whatever is asked.
type liar struct{ resp wasi.Response }

func (l liar) Do(_ context.Context, _ *wasi.Request, resp *wasi.Response) error {
	*resp = l.resp
	return nil
}

// FuzzLyingSystem answers a guest's calls with nonsense: no panic, and a state that can be encoded.
func FuzzLyingSystem(f *testing.F) {
	f.Add(sampleResponse().AppendTo(nil), byte(26))
	for i := range byte(46) {
		f.Add((&wasi.Response{N: math.MaxUint64, Value: math.MaxUint64, Handle: 5, Data: []byte("0123456789abcdef")}).AppendTo(nil), i)
	}
	f.Fuzz(func(t *testing.T, b []byte, which byte) {
		var l liar
		if l.resp.Decode(b) != nil {
			return
		}
		m := newMachine(t, wasi.Preview1, local.Config{})
		m.mustOpen("f", create, readWrite, 0)
		m.p.System = l
		fs := wasi.Funcs(m.p, wasi.Preview1)
		fn := fs[int(which)%len(fs)]
		for fd := range uint64(5) {
			vec, _ := m.vec([]byte("some"), []byte("thing"))
			stack := []uint64{fd, uint64(vec), 2, uint64(m.room(64)), uint64(m.room(64)), 4, 0, 0, uint64(m.room(8))}
			_ = fn.Call(t.Context(), m.mem, stack)
		}
		if _, err := m.p.State.MarshalBinary(); err != nil {
			t.Fatal(err)
		}
	})
}
