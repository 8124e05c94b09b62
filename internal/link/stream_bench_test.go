package link

import (
	"context"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"
)

// BenchmarkBulk compares, round by round, frames of 64 KiB over a Stream with writes of 64 KiB over TLS alone.
func BenchmarkBulk(b *testing.B) {
	const round = 32 << 20
	for _, batch := range []int{1, 4, 16} {
		b.Run(fmt.Sprint("batch-", batch), func(b *testing.B) {
			r := mrand.New(mrand.NewPCG(1, 1))
			c, d := tlsPair(b)
			plain := make(chan struct{})
			block := frame(64<<10, false, r)
			go func() {
				buf := make([]byte, 64<<10)
				for n := 0; ; {
					k, err := d.Read(buf)
					if err != nil {
						return
					}
					for n += k; n >= round; n -= round {
						plain <- struct{}{}
					}
				}
			}()
			e, f := tlsPair(b)
			out, in := NewStream(e, testOptions()), NewStream(f, testOptions())
			defer out.Close()
			framed := make(chan struct{})
			go func() {
				for n := 0; ; {
					got, err := in.Recv(context.Background())
					if err != nil {
						return
					}
					if n += len(got); n == round {
						n = 0
						framed <- struct{}{}
					}
				}
			}()
			frames := slices.Repeat([][]byte{block}, batch)
			var alone, stream []float64
			b.SetBytes(round)
			for b.Loop() {
				start := time.Now()
				for range round / len(block) {
					c.Write(block)
				}
				<-plain
				half := time.Now()
				for range round / len(block) / batch {
					out.SendBatch(context.Background(), frames)
				}
				<-framed
				alone = append(alone, half.Sub(start).Seconds())
				stream = append(stream, time.Since(half).Seconds())
			}
			slices.Sort(alone)
			slices.Sort(stream)
			x, y := alone[len(alone)/2], stream[len(stream)/2]
			b.ReportMetric(round/x/1e6, "tls-MB/s")
			b.ReportMetric(round/y/1e6, "stream-MB/s")
			b.ReportMetric(x/y, "stream/tls")
		})
	}
}

// BenchmarkEcho sends a frame there and back over a Stream, and the same bytes over TLS alone.
func BenchmarkEcho(b *testing.B) {
	const size = 256
	r := mrand.New(mrand.NewPCG(1, 1))
	f := frame(size, false, r)
	b.Run("tls", func(b *testing.B) {
		c, d := tlsPair(b)
		go func() {
			buf := make([]byte, size)
			for {
				if _, err := io.ReadFull(d, buf); err != nil {
					return
				}
				d.Write(buf)
			}
		}()
		buf := make([]byte, size)
		b.ReportAllocs()
		for b.Loop() {
			c.Write(f)
			io.ReadFull(c, buf)
		}
	})
	b.Run("stream", func(b *testing.B) {
		c, d := tlsPair(b)
		x, y := NewStream(c, testOptions()), NewStream(d, testOptions())
		defer x.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			for {
				f, err := y.Recv(ctx)
				if err != nil || y.Send(ctx, f) != nil {
					return
				}
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			x.Send(ctx, f)
			x.Recv(ctx)
		}
	})
}

// BenchmarkCodec compresses and decompresses records of text.
func BenchmarkCodec(b *testing.B) {
	r := mrand.New(mrand.NewPCG(1, 1))
	for _, size := range []int{512, 64 << 10} {
		src := frame(size, true, r)
		for k := codecS2; k < numCodecs; k++ {
			packed := coder(k, src)
			dst := make([]byte, 0, coded(size))
			b.Run(fmt.Sprintf("encode-%d-%d", k, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					k.encode(dst, src)
				}
			})
			b.Run(fmt.Sprintf("decode-%d-%d", k, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					k.decode(packed, size)
				}
			})
		}
	}
}
