package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testHeader = 4
	testFrame  = 70_000
)

var errTestSize = errors.New("size of a frame")

// testOptions are for frames that begin with their length.
func testOptions() StreamOptions {
	return StreamOptions{Header: testHeader, MaxFrame: testFrame, Size: func(h []byte) (int, error) {
		n := binary.LittleEndian.Uint32(h)
		if n > 1<<30 {
			return 0, errTestSize
		}
		return int(n), nil
	}}
}

// frame makes a frame of n bytes; with text it compresses well.
func frame(n int, text bool, r *mrand.Rand) []byte {
	f := make([]byte, n)
	for i := range f {
		if f[i] = byte(r.Uint32()); text {
			f[i] = "etaoin shrdlu"[f[i]%4*3]
		}
	}
	binary.LittleEndian.PutUint32(f, uint32(n))
	return f
}

func testRand(t testing.TB) *mrand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return mrand.New(mrand.NewPCG(seed, 1))
}

// record sends frames as one record with the codec given, if that makes it shorter.
func (s *Stream) record(k codec, frames ...[]byte) error {
	raw := 0
	for _, f := range frames {
		raw += len(f)
	}
	if k != codecNone {
		if done, err := s.writeCoded(k, frames, raw); done || err != nil {
			return errors.Join(err, s.out.flush())
		}
	}
	return s.SendBatch(context.Background(), frames)
}

func TestStreamRoundTrip(t *testing.T) {
	eachPair(t, func(t *testing.T, c, d net.Conn) {
		r := testRand(t)
		a, b := NewStream(c, testOptions()), NewStream(d, testOptions())
		var sent [][]byte
		var batches []int
		for len(sent) < 400 {
			n := 1 + r.IntN(8)
			batches = append(batches, n)
			for range n {
				size := testHeader + r.IntN(300)
				if r.IntN(4) == 0 {
					size = testHeader + r.IntN(testFrame-testHeader+1)
				}
				sent = append(sent, frame(size, r.IntN(3) > 0, r))
			}
		}
		codecs := make([]codec, len(batches))
		for i := range codecs {
			codecs[i] = codec(r.IntN(int(numCodecs)))
		}
		done := make(chan error, 1)
		go func() {
			rest := sent
			for i, n := range batches {
				group := rest[:n]
				rest = rest[n:]
				k := codecs[i]
				if len(bytes.Join(group, nil)) > maxRaw {
					k = codecNone // is cut into several records
				}
				if err := a.record(k, group...); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for i, want := range sent {
			got, err := b.Recv(t.Context())
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("frame %d: got %d bytes, want %d, or others", i, len(got), len(want))
			}
			if cap(got) > len(got) && cap(got) > smallRecord {
				t.Fatalf("frame %d of %d bytes reaches into %d", i, len(got), cap(got))
			}
		}
		must(t, <-done)
		from, to := a.Stats().Sent, b.Stats().Received
		if from != to || to.S2 == 0 || to.Zstd == 0 || to.Plain == 0 || to.Wire >= to.Frames {
			t.Fatalf("sent %+v, received %+v", from, to)
		}
	})
}

// TestStreamChooses sends text at rates told.
func TestStreamChooses(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		rtt  time.Duration
		want func(c StreamCount) bool
	}{
		{0, 0, func(c StreamCount) bool { return c.S2+c.Zstd == 0 }},
		{0, 20 * time.Millisecond, func(c StreamCount) bool { return c.S2 > 0 && c.Plain+c.Zstd == 0 }},
		{20e9, time.Millisecond, func(c StreamCount) bool { return c.Plain > c.S2+c.Zstd }},
		{5e3, 500 * time.Millisecond, func(c StreamCount) bool { return c.Zstd > c.S2+c.Plain && c.Wire < c.Frames/2 }},
	} {
		t.Run(fmt.Sprintf("%.0f-%v", tc.rate, tc.rtt), func(t *testing.T) {
			r := testRand(t)
			c, d := tcpPair(t)
			opt := testOptions()
			opt.Compress = true
			a, b := NewStream(c, opt), NewStream(d, testOptions())
			a.SetRate(tc.rate, tc.rtt)
			f := frame(64<<10, true, r)
			for i := range 100 {
				done := make(chan error, 1)
				go func() { done <- a.Send(t.Context(), f) }()
				got, err := b.Recv(t.Context())
				if err != nil || !bytes.Equal(got, f) {
					t.Fatalf("frame %d: %v", i, err)
				}
				must(t, <-done)
			}
			if got := a.Stats().Sent; !tc.want(got) {
				t.Fatalf("sent %+v", got)
			}
		})
	}
}

func TestStreamOwnFrames(t *testing.T) {
	for _, f := range [][]byte{nil, {1, 0, 0}, lengths(5), lengths(3), lengths(0xffffffff), make([]byte, testFrame+1)} {
		s := NewStream(&fakeConn{Reader: strings.NewReader("")}, testOptions())
		if err := s.Send(t.Context(), f); err == nil {
			t.Errorf("frame of %d bytes is sent", len(f))
		}
	}
}

// TestStreamCalledOff: Recv goes on where a context ended it, wherever that was.
func TestStreamCalledOff(t *testing.T) {
	eachPair(t, func(t *testing.T, c, d net.Conn) {
		r := testRand(t)
		text := frame(5000, true, r)
		z := coder(codecZstd, text)
		frames := [][]byte{frame(10, false, r), frame(20, false, r), frame(30_000, false, r), text}
		in := bytes.Join([][]byte{
			head(codecNone, 30, 0), frames[0], frames[1], head(codecNone, 30_000, 0), frames[2], head(codecZstd, len(z), 5000), z,
		}, nil)
		s := NewStream(d, testOptions())
		var got [][]byte
		take := func(ctx context.Context) error {
			f, err := s.Recv(ctx)
			if err == nil {
				got = append(got, f)
			}
			return err
		}
		for len(in) > 0 {
			n := min(len(in), 1+r.IntN(12))
			if r.IntN(3) == 0 {
				n = min(len(in), 1+r.IntN(20_000))
			}
			wrote := make(chan error, 1)
			go func() {
				_, err := c.Write(in[:n])
				wrote <- err
			}()
			// The write may have to wait for the reader (net.Pipe).
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				if err := <-wrote; err != nil {
					t.Error(err)
				}
				cancel()
			}()
			err := take(ctx)
			for err == nil {
				err = take(ctx)
			}
			<-ctx.Done()
			if err != context.Canceled {
				t.Fatal(err)
			}
			in = in[n:]
		}
		for len(got) < len(frames) {
			must(t, take(t.Context()))
		}
		for i, f := range frames {
			if !bytes.Equal(got[i], f) {
				t.Fatalf("frame %d: got %d bytes, want %d, or others", i, len(got[i]), len(f))
			}
		}
	})
}

func TestStreamContext(t *testing.T) {
	for _, name := range []string{"pipe", "tls"} {
		t.Run(name, func(t *testing.T) {
			c, d := pairs[name](t)
			s := NewStream(c, testOptions())
			defer s.Close()
			f := frame(testFrame, false, testRand(t))
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Send(gone, f); err != context.Canceled {
				t.Fatalf("error %v before the write", err)
			}
			if _, err := s.Recv(gone); err != context.Canceled {
				t.Fatalf("error %v from Recv", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				for {
					if err := s.Send(ctx, f); err != nil {
						done <- err
						return
					}
				}
			}()
			// The write has begun.
			if _, err := io.ReadFull(d, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cancel()
			// On a socket the context may also end between two frames, and the link then lives.
			err := <-done
			if name == "pipe" && (errors.Is(err, context.Canceled) || !errors.Is(err, ErrCut)) {
				t.Fatalf("error %v in the middle of a write", err)
			}
			if err == context.Canceled {
				return
			}
			if again := s.Send(t.Context(), f); again != err {
				t.Fatalf("error %v, then %v", err, again)
			}
		})
	}
}

func TestStreamClose(t *testing.T) {
	eachPair(t, func(t *testing.T, c, d net.Conn) {
		a, b := NewStream(c, testOptions()), NewStream(d, testOptions())
		defer b.Close()
		f := frame(testFrame, false, testRand(t))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Recv(t.Context()); err != ErrClosed {
				t.Errorf("Recv on this end: %v", err)
			}
		})
		stuck := make(chan struct{}) // what came before has arrived, the socket fills up
		wg.Go(func() {
			for {
				if err := a.Send(t.Context(), f); err != nil {
					if err != ErrClosed {
						t.Errorf("Send on this end: %v", err)
					}
					return
				}
			}
		})
		wg.Go(func() {
			for i := 0; ; i++ {
				got, err := b.Recv(t.Context())
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("Recv on the other end: %v", err)
					}
					return
				}
				if !bytes.Equal(got, f) {
					t.Error("another frame received")
				}
				if i == 0 {
					close(stuck)
				}
			}
		})
		<-stuck
		must(t, a.Close())
		must(t, a.Close())
		wg.Wait()
		if err := a.Send(t.Context(), f); err != ErrClosed {
			t.Errorf("Send on this end: %v", err)
		}
		if _, err := a.Recv(t.Context()); err != ErrClosed {
			t.Errorf("Recv on this end: %v", err)
		}
	})
}

// TestStreamCloseFull: Close does not wait for a socket that takes nothing.
func TestStreamCloseFull(t *testing.T) {
	c, _ := tlsPair(t)
	raw := c.(*tls.Conn).NetConn()
	// Fill the socket beneath TLS, until it takes nothing for a while.
	for {
		must(t, raw.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		if _, err := raw.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	s := NewStream(c, testOptions())
	start := time.Now()
	s.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Fatalf("Close took %v", took)
	}
}

// TestStreamEnds: the other side learns of a close as such, once it has received what was on the way.
func TestStreamEnds(t *testing.T) {
	for _, name := range []string{"tcp", "tls"} {
		t.Run(name, func(t *testing.T) {
			c, d := pairs[name](t)
			a, b := NewStream(c, testOptions()), NewStream(d, testOptions())
			f := frame(1000, false, testRand(t))
			must(t, a.Send(t.Context(), f))
			must(t, a.Close())
			got, err := b.Recv(t.Context())
			if err != nil || !bytes.Equal(got, f) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if _, err := b.Recv(t.Context()); err != ErrClosed {
				t.Fatalf("error %v", err)
			}
		})
	}
	c, d := tlsPair(t)
	s := NewStream(d, testOptions())
	raw := c.(*tls.Conn).NetConn().(*net.TCPConn)
	must(t, raw.SetLinger(0)) // resets the connection
	must(t, raw.Close())
	if _, err := s.Recv(t.Context()); !errors.Is(err, ErrCut) {
		t.Fatalf("error %v, want ErrCut", err)
	}
}

func TestStreamReadAhead(t *testing.T) {
	for _, size := range []int{16, 4096, 64 << 10} {
		r := testRand(t)
		one, two := frame(100, false, r), frame(60_000, false, r)
		in := bytes.Join([][]byte{[]byte("hello\n"), head(codecNone, 100, 0), one, head(codecNone, 60_000, 0), two}, nil)
		conn := &fakeConn{Reader: bytes.NewReader(in)}
		opt := testOptions()
		opt.Reader = bufio.NewReaderSize(conn, size)
		if line, err := opt.Reader.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatal(line, err)
		}
		s := NewStream(conn, opt)
		for _, want := range [][]byte{one, two} {
			if got, err := s.Recv(t.Context()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("buffer of %d: got %d bytes, %v", size, len(got), err)
			}
		}
	}
}

// TestStreamIdle measures what a link with TLS holds at both ends after use, while Recv waits.
func TestStreamIdle(t *testing.T) {
	const links = 50
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	r := testRand(t)
	f := frame(64<<10, true, r)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	connect := func() {
		c, d := tlsPair(t)
		a, b := NewStream(c, testOptions()), NewStream(d, testOptions())
		t.Cleanup(func() { a.Close(); b.Close() })
		for _, k := range []codec{codecNone, codecS2, codecZstd} {
			for _, s := range [][2]*Stream{{a, b}, {b, a}} {
				done := make(chan error, 1)
				go func() { done <- s[0].record(k, f, f) }()
				for range 2 {
					if _, err := s[1].Recv(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				must(t, <-done)
			}
		}
		for _, s := range []*Stream{a, b} {
			wg.Go(func() { s.Recv(context.Background()) })
			t.Cleanup(func() { s.Close() })
		}
	}
	connect() // makes what is shared
	before := memory()
	for range links {
		connect()
	}
	each := (int64(memory()) - int64(before)) / (2 * links)
	t.Logf("%d KiB at each end", each>>10)
	if each > 96<<10 {
		t.Errorf("an idle end holds %d bytes", each)
	}
}
