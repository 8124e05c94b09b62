package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
)

// head makes the header of a record.
func head(k codec, n, raw int) []byte {
	b := make([]byte, codedHeader)
	putHeader(b, k, n)
	if k == codecNone {
		return b[:plainHeader]
	}
	binary.LittleEndian.PutUint32(b[plainHeader:], uint32(raw))
	return b
}

func coder(k codec, raw []byte) []byte { return k.encode(make([]byte, 0, coded(len(raw))), raw) }

// lengths makes frames that are their header only, of any length said.
func lengths(n ...uint32) []byte {
	var b []byte
	for _, n := range n {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// fakeConn reads what it was given.
type fakeConn struct {
	net.Conn
	io.Reader
}

func (c *fakeConn) Read(b []byte) (int, error)       { return c.Reader.Read(b) }
func (c *fakeConn) Close() error                     { return nil }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

func TestStreamMalformed(t *testing.T) {
	long := frame(60_000, true, mrand.New(mrand.NewPCG(1, 1)))
	s2long, zlong := coder(codecS2, long), coder(codecZstd, long)
	bomb := coder(codecZstd, make([]byte, 8<<20))
	s2bomb := s2.Encode(nil, make([]byte, 8<<20))
	damage := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x55
		return b
	}
	for name, tc := range map[string]struct {
		in   [][]byte
		want error
	}{
		"end":                {nil, ErrClosed},
		"end in header":      {[][]byte{{0, 5}}, ErrCut},
		"end in raw length":  {[][]byte{head(codecS2, 5, 50)[:6]}, ErrCut},
		"end behind header":  {[][]byte{head(codecNone, 50, 0)}, ErrCut},
		"end in frame":       {[][]byte{head(codecNone, len(long), 0), long[:30_000]}, ErrCut},
		"end in payload":     {[][]byte{head(codecS2, len(s2long), len(long)), s2long[:100]}, ErrCut},
		"codec":              {[][]byte{head(numCodecs, 50, 100), make([]byte, 50)}, errRecord},
		"empty":              {[][]byte{head(codecNone, 0, 0)}, errRecord},
		"empty with codec":   {[][]byte{head(codecS2, 0, 100)}, errRecord},
		"too long":           {[][]byte{head(codecNone, maxRaw+1, 0), make([]byte, 10)}, errRecord},
		"longest":            {[][]byte{{0, 0xff, 0xff, 0xff}}, errRecord},
		"raw too long":       {[][]byte{head(codecZstd, 100, maxRaw+1), make([]byte, 100)}, errRecord},
		"raw longest":        {[][]byte{head(codecZstd, 100, 0xffffffff), make([]byte, 100)}, errRecord},
		"not shorter":        {[][]byte{head(codecS2, 100, 100), make([]byte, 100)}, errRecord},
		"below a frame":      {[][]byte{head(codecNone, 3, 0), make([]byte, 3)}, errRecord},
		"frame too long":     {[][]byte{head(codecNone, 80_000, 0), lengths(testFrame + 1), make([]byte, 80_000)}, errRecord},
		"frame too short":    {[][]byte{head(codecNone, 8, 0), lengths(3, 0)}, errRecord},
		"frame of size":      {[][]byte{head(codecNone, 8, 0), lengths(0xffffffff, 0)}, errTestSize},
		"frame over record":  {[][]byte{head(codecNone, 8, 0), lengths(9, 0)}, errRecord},
		"long over record":   {[][]byte{head(codecNone, len(long)-1, 0), long}, errRecord},
		"rest of a frame":    {[][]byte{head(codecNone, len(long)+2, 0), long, {1, 2}}, errRecord},
		"S2 raw longer":      {[][]byte{head(codecS2, len(s2long), len(long)+1), s2long}, errRecord},
		"S2 raw shorter":     {[][]byte{head(codecS2, len(s2long), len(long)-1), s2long}, errRecord},
		"S2 bomb":            {[][]byte{head(codecS2, len(s2bomb), maxRaw), s2bomb}, errRecord},
		"S2 bomb said short": {[][]byte{head(codecS2, len(s2bomb), len(s2bomb)+1), s2bomb}, errRecord},
		"S2 damaged":         {[][]byte{head(codecS2, len(s2long), len(long)), damage(s2long, 0)}, errRecord},
		"S2 truncated":       {[][]byte{head(codecS2, len(s2long)-9, len(long)), s2long}, errRecord},
		"zstd raw longer":    {[][]byte{head(codecZstd, len(zlong), len(long)+1), zlong}, errRecord},
		"zstd raw shorter":   {[][]byte{head(codecZstd, len(zlong), len(long)-1), zlong}, errRecord},
		"zstd bomb":          {[][]byte{head(codecZstd, len(bomb), maxRaw), bomb}, errRecord},
		"zstd twice":         {[][]byte{head(codecZstd, 2*len(zlong), len(long)), zlong, zlong}, errRecord},
		"zstd damaged":       {[][]byte{head(codecZstd, len(zlong), len(long)), damage(zlong, 0)}, errRecord},
		"zstd truncated":     {[][]byte{head(codecZstd, len(zlong)-9, len(long)), zlong}, errRecord},
		"wrong within":       {[][]byte{head(codecS2, len(s2long), len(long)), coder(codecS2, append(lengths(59_999), long[4:]...))}, errRecord},
	} {
		t.Run(name, func(t *testing.T) {
			in := bytes.Join(tc.in, nil)
			s := NewStream(&fakeConn{Reader: bytes.NewReader(in)}, testOptions())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var err error
			for err == nil {
				_, err = s.Recv(t.Context())
			}
			runtime.ReadMemStats(&after)
			if !errors.Is(err, tc.want) || tc.want == ErrClosed && errors.Is(err, ErrCut) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if tc.want != ErrCut && tc.want != ErrClosed && errors.Is(err, ErrClosed) {
				t.Errorf("error %v matches ErrClosed", err)
			}
			if _, again := s.Recv(t.Context()); again != err {
				t.Errorf("error %v, then %v", err, again)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	r := mrand.New(mrand.NewPCG(1, 2))
	small, text, noise := frame(100, false, r), frame(9000, true, r), frame(9000, false, r)
	f.Add(bytes.Join([][]byte{head(codecNone, 200, 0), small, small}, nil))
	f.Add(bytes.Join([][]byte{head(codecNone, 9100, 0), noise, small}, nil))
	for k := codecS2; k < numCodecs; k++ {
		b := coder(k, bytes.Join([][]byte{text, small, text}, nil))
		f.Add(bytes.Join([][]byte{head(k, len(b), 18_100), b, head(codecNone, 100, 0), small}, nil))
	}
	f.Add([]byte{2, 100, 0, 0, 0, 0, 4, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewStream(&fakeConn{Reader: bytes.NewReader(in)}, testOptions())
		for {
			got, err := s.Recv(context.Background())
			if cap(s.now.buf) > largeBuffer || cap(s.now.block) > maxRaw || s.now.left > maxRaw {
				t.Fatalf("holds %d, %d, %d", cap(s.now.buf), cap(s.now.block), s.now.left)
			}
			if err != nil {
				if got != nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				break
			}
			if len(got) < testHeader || len(got) > testFrame || cap(got) > testFrame+smallRecord ||
				int(binary.LittleEndian.Uint32(got)) != len(got) {
				t.Fatalf("frame of %d bytes (%d): % x", len(got), cap(got), got[:min(len(got), 8)])
			}
		}
		if st := s.Stats().Received; st.Wire > uint64(len(in))+maxRaw || st.Plain+st.S2+st.Zstd > uint64(len(in)) {
			t.Fatalf("%+v of %d bytes", st, len(in))
		}
	})
}
