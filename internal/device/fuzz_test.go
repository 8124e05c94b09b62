package device_test

import (
	"math"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// FuzzHomeCall has the device's system carry out any request that can be decoded: what a clone sends within its reach.
func FuzzHomeCall(f *testing.F) {
	for op := wasi.OpNone; op < wasi.NumOps; op++ {
		for _, r := range []wasi.Request{
			{Op: op, Handle: hDir, Handle2: hDir, Path: "in", Path2: "new", Flags: math.MaxUint64, Rights: math.MaxUint64, Inheriting: math.MaxUint64},
			{Op: op, Handle: 5, Offset: math.MaxUint64, Size: math.MaxInt64, Data: []byte("0123456789abcdef")},
			{Op: op, Handle: 5, Offset: 1 << 62, Size: 100, Atime: math.MaxUint64, Mtime: 1, Flags: wasi.FlagAtime | wasi.FlagMtimeNow, Data: []byte("x")},
			{Op: op, Handle: hIn, Size: 7, Flags: 2, Offset: 1 << 63, Realtime: math.MaxUint64, Monotonic: math.MaxUint64},
			{Op: op, Handle: hOut, Path: "../..", Path2: "\x00", Data: []byte("text")},
		} {
			f.Add(r.AppendTo(nil), true)
			f.Add(r.AppendTo(nil), false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, readOnly bool) {
		var req wasi.Request
		if req.Decode(b) != nil || req.Op >= wasi.OpOther {
			return
		}
		tree := vfs.NewMem(vfs.MemOptions{Limit: 1 << 20})
		put(t, tree, "in", "content")
		l, err := local.New(local.Config{Stdin: strings.NewReader(stdin), VirtualClock: true, Mounts: []local.Mount{{FS: tree, Guest: "/", ReadOnly: readOnly}}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		open := wasi.Request{Op: wasi.OpOpen, Handle: hDir, Path: "in", Rights: wasi.RightRead | wasi.RightWrite}
		if readOnly {
			open.Rights = wasi.RightRead
		}
		if err := wasi.Serve(t.Context(), l, &open, &wasi.Response{}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			again, resp := req, wasi.Response{}
			if err := wasi.Serve(t.Context(), l, &again, &resp); err != nil {
				t.Fatalf("%v ends the run: %v", req.Op, err)
			}
			var back wasi.Response
			if err := back.Decode(resp.AppendTo(nil)); err != nil {
				t.Fatalf("answer of %v cannot travel: %v", req.Op, err)
			}
		}
	})
}
