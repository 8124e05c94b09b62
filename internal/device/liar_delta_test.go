package device_test

import (
	"bytes"

	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// deltas are pages that do not belong to the answer, or to any memory.
func deltas() []lie {
	answer := func(name, line string, spoil func(s *stage, r *wire.Reintegrate, ms []wire.Message) []wire.Message) lie {
		return lie{name: "delta_" + name, line: broke + line, reason: "distrust", script: once(func(s *stage) {
			r := s.answer(5050)
			for i, mem := 0, s.mem.Bytes()[:2<<16]; i < len(mem); i++ {
				mem[i] = byte(i*i>>3 + i)
			}
			ms := s.pages(r, 1, 5, 6)
			s.send(r)
			s.send(spoil(s, r, ms)...)
		})}
	}
	// stream spoils the bytes of the delta, which is one message: 48 bytes of header, pages, 32 of digest.
	stream := func(name, line string, spoil func(b []byte) []byte) lie {
		return answer(name, line, func(_ *stage, _ *wire.Reintegrate, ms []wire.Message) []wire.Message {
			p := ms[0].(*wire.Pages)
			p.Data = spoil(bytes.Clone(p.Data))
			ms[len(ms)-1].(*wire.PagesEnd).Bytes = uint64(len(p.Data))
			return ms
		})
	}
	const receive = "receive pages of 1.1: "
	limited := stream("limit", receive+"read delta header: 3 pages of 131072 bytes: delta above the limit", func(b []byte) []byte { return b })
	limited.limits = device.Limits{DownPages: 2}
	return []lie{
		limited,
		stream("digest", receive+"check delta", func(b []byte) []byte { b[len(b)-1]++; return b }),
		stream("content", receive, func(b []byte) []byte { b[100]++; return b }),
		stream("magic", receive+"read delta header: not a delta", func(b []byte) []byte { b[0]++; return b }),
		stream("base", receive+"state refused: delta of another state", func(b []byte) []byte { b[10]++; return b }),
		stream("memory_less", receive, func(b []byte) []byte { b[38]--; return b }),
		stream("memory_more", receive, func(b []byte) []byte { b[38]++; return b }),
		stream("pages_fewer", receive, func(b []byte) []byte { b[44]--; return b }),
		stream("pages_more", receive, func(b []byte) []byte { b[44]++; return b }),
		stream("pages_4g", receive+"read delta header", func(b []byte) []byte { copy(b[44:], "\xff\xff\xff\xff"); return b }),
		stream("beyond_memory", receive, func(b []byte) []byte { b[48] = 40; return b }),
		stream("left_on_node", receive+"read page record after page -1: page left on the node", func(b []byte) []byte { b[49] = byte(delta.Left); return b }),
		stream("encoding", receive, func(b []byte) []byte { b[49] = 99; return b }),
		stream("run", receive, func(b []byte) []byte { b[50] = 0; return b }),
		stream("truncated", receive, func(b []byte) []byte { return b[:len(b)-1] }),
		stream("half", receive, func(b []byte) []byte { return b[:len(b)/2] }),
		stream("header_only", receive, func(b []byte) []byte { return b[:48] }),
		stream("longer", receive+"end delta", func(b []byte) []byte { return append(b, 0) }),
		answer("length", receive, func(_ *stage, _ *wire.Reintegrate, ms []wire.Message) []wire.Message {
			ms[len(ms)-1].(*wire.PagesEnd).Bytes++
			return ms
		}),
		answer("no_pieces", receive, func(_ *stage, _ *wire.Reintegrate, ms []wire.Message) []wire.Message { return ms[len(ms)-1:] }),
		answer("empty_pieces", receive+"read delta header: read delta stream: the clone broke a rule: pages of no bytes", func(_ *stage, r *wire.Reintegrate, _ []wire.Message) []wire.Message {
			return []wire.Message{&wire.Pages{Offload: r.Offload, Attempt: r.Attempt}}
		}),
		answer("other_attempt", receive, func(_ *stage, _ *wire.Reintegrate, ms []wire.Message) []wire.Message {
			ms[0].(*wire.Pages).Attempt++
			return ms
		}),
		answer("stranger", receive+"read delta header: read delta stream: home-call in its midst", func(s *stage, _ *wire.Reintegrate, ms []wire.Message) []wire.Message {
			s.call = 1
			return append([]wire.Message{s.homeCall(wasi.Request{Op: wasi.OpRead, Handle: 1})}, ms...)
		}),
		answer("again", receive+"read delta header: read delta stream: reintegrate in its midst", func(_ *stage, r *wire.Reintegrate, ms []wire.Message) []wire.Message {
			return append([]wire.Message{r}, ms...)
		}),
	}
}
