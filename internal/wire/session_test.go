package wire

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the output of scripts into them")

// pair is two sessions and what is on the way between them.
type pair struct {
	s   [2]*Session
	way [2][][]byte // way[i]: sent by session i
}

func newPair(cfg SessionConfig) *pair {
	return &pair{s: [2]*Session{NewSession(cfg), NewSession(cfg)}}
}

// call makes the message that stands for n in tests; every fourth takes several frames.
func call(n uint64) Message {
	m := &HomeCall{Offload: 1, Attempt: 1, Call: n}
	if n%4 == 0 {
		m.Request = make([]byte, MaxBody+int(n))
	}
	return m
}

func (p *pair) send(i int, m Message) error {
	frames, err := p.s[i].Send(m)
	if err == nil {
		p.way[i] = append(p.way[i], frames...)
	}
	return err
}

// deliver lets the first frame from i arrive.
func (p *pair) deliver(i int) (Message, error) {
	f := p.way[i][0]
	p.way[i] = p.way[i][1:]
	return p.s[1-i].Receive(f)
}

// cut loses what is on the way and resumes both sides.
func (p *pair) cut() error {
	p.way = [2][][]byte{}
	got := [2]uint64{p.s[0].Received(), p.s[1].Received()}
	for i, s := range p.s {
		again, err := s.Resume(got[1-i])
		if err != nil {
			return err
		}
		p.way[i] = again
	}
	return nil
}

func describe(frame []byte) string {
	h, err := ParseHeader(frame)
	if err != nil {
		return err.Error()
	}
	s := h.Type.String()
	if h.Seq > 0 {
		s += fmt.Sprintf("#%d", h.Seq)
	}
	if h.Flags&FlagMore != 0 {
		s += "+"
	}
	return fmt.Sprintf("%s ack %d", s, h.Ack)
}

// TestSession runs scripts: commands, a line "----", and what they print. Sides are a and b.
//
//	send SIDE N...          home calls with these numbers; every fourth takes two frames
//	ping|ack SIDE
//	deliver SIDE [N|all]    frames sent by SIDE arrive
//	drop|double|flip|swap SIDE   something happens to the next frame sent by SIDE
//	cut                     loses what is on the way and resumes
//	resume SIDE N           resumes alone, as if the peer had received N
//	forge SIDE TYPE SEQ ACK a frame of an empty message arrives as if sent by SIDE
//	state
func TestSession(t *testing.T) {
	files, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			p := newPair(SessionConfig{MaxFrames: 6, AckFrames: 3})
			for block := range strings.SplitSeq(strings.TrimSpace(string(in)), "\n\n") {
				commands, _, _ := strings.Cut(block, "----")
				out.WriteString(commands + "----\n")
				for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
					if !strings.HasPrefix(line, "#") {
						p.run(&out, strings.Fields(line))
					}
				}
				out.WriteString("\n")
			}
			got := strings.TrimSpace(out.String()) + "\n"
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			} else if got != string(in) {
				t.Fatalf("got\n%s\nwant\n%s", got, in)
			}
		})
	}
}

func (p *pair) run(out *strings.Builder, w []string) {
	side := 0
	if len(w) > 1 && w[1] == "b" {
		side = 1
	}
	num := func(i int) uint64 {
		n, _ := strconv.ParseUint(w[i], 10, 64)
		return n
	}
	show := func(m Message, err error) {
		switch m := m.(type) {
		case nil:
			if err != nil {
				fmt.Fprintf(out, "  error: %v\n", err)
			}
		case *HomeCall:
			fmt.Fprintf(out, "  %c got call %d\n", "ba"[side], m.Call)
		default:
			fmt.Fprintf(out, "  %c got %v\n", "ba"[side], m.Type())
		}
	}
	switch w[0] {
	case "send":
		for i := range w[2:] {
			if err := p.send(side, call(num(2+i))); err != nil {
				fmt.Fprintf(out, "call %s: %v\n", w[2+i], err)
			}
		}
	case "ping":
		p.send(side, &Ping{})
	case "ack":
		p.way[side] = append(p.way[side], p.s[side].Ack())
	case "deliver":
		n := 1
		if len(w) > 2 {
			n = int(num(2))
			if w[2] == "all" {
				n = len(p.way[side])
			}
		}
		for range n {
			fmt.Fprintf(out, "%s\n", describe(p.way[side][0]))
			show(p.deliver(side))
		}
	case "drop":
		p.way[side] = p.way[side][1:]
	case "double":
		p.way[side] = slices.Insert(p.way[side], 0, p.way[side][0])
	case "flip":
		f := bytes.Clone(p.way[side][0])
		f[len(f)-1] ^= 0x10
		p.way[side][0] = f
	case "swap":
		q := slices.Clone(p.way[side])
		q[0], q[1] = q[1], q[0]
		p.way[side] = q
	case "cut":
		show(nil, p.cut())
	case "resume":
		_, err := p.s[side].Resume(num(2))
		show(nil, err)
	case "forge":
		for typ := range numTypes {
			if typ.String() == w[2] {
				show(p.s[1-side].Receive(seal(appendHeader(nil, typ, 0, num(3), num(4)))))
			}
		}
	case "state":
		for i, s := range p.s {
			frames, _ := s.Waiting()
			fmt.Fprintf(out, "%c: sent %d acked %d received %d waiting %d room %v due %v pending %v\n", "ab"[i], s.Sent(), s.Acked(),
				s.Received(), frames, s.Room(), s.AckDue(), s.AckPending())
		}
	default:
		fmt.Fprintf(out, "no such command: %s\n", w[0])
	}
}

// TestSessionModel: over any sequence of sends, arrivals, losses, doubles, damage, reorderings and cuts each side
// receives what the other has sent, once and in order, and in the end all of it.
func TestSessionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(SessionConfig{
			MaxFrames: rapid.IntRange(1, 9).Draw(t, "frames"), MaxBytes: rapid.SampledFrom([]int{1, 1000, 1 << 20}).Draw(t, "bytes"),
			AckFrames: rapid.IntRange(1, 5).Draw(t, "ack"),
		})
		var sent, got [2]uint64
		receive := func(i int, m Message, err error) {
			switch {
			case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrGap):
				if err := p.cut(); err != nil {
					t.Fatal(err)
				}
			case err != nil:
				t.Fatal(err)
			case m != nil:
				if got[i]++; m.(*HomeCall).Call != got[i] || len(m.(*HomeCall).Request) != len(call(got[i]).(*HomeCall).Request) {
					t.Fatalf("call %d received as the %dth", m.(*HomeCall).Call, got[i])
				}
			}
			if s := p.s[1-i]; s.AckDue() && !s.AckPending() {
				t.Fatal("an acknowledgement is due of nothing")
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "side")
			switch op := rapid.SampledFrom([]string{"send", "send", "arrive", "arrive", "arrive", "ack", "lose", "double", "flip", "swap", "cut"}).Draw(t, "op"); {
			case op == "send":
				room := p.s[i].Room()
				err := p.send(i, call(sent[i]+1))
				if room != (err == nil) {
					t.Fatalf("room %v, error %v", room, err)
				}
				if err == nil {
					sent[i]++
				}
			case op == "ack":
				p.way[i] = append(p.way[i], p.s[i].Ack())
			case op == "cut":
				if err := p.cut(); err != nil {
					t.Fatal(err)
				}
			case len(p.way[i]) == 0:
			case op == "arrive":
				m, err := p.deliver(i)
				receive(i, m, err)
			case op == "lose":
				p.way[i] = p.way[i][1:]
			case op == "double":
				p.way[i] = slices.Insert(slices.Clone(p.way[i]), 0, p.way[i][0])
			case op == "swap" && len(p.way[i]) > 1:
				p.way[i] = slices.Clone(p.way[i])
				p.way[i][0], p.way[i][1] = p.way[i][1], p.way[i][0]
			case op == "flip":
				bit := rapid.Uint32().Draw(t, "bit")
				f := bytes.Clone(p.way[i][0])
				f[int(bit/8)%len(f)] ^= 1 << (bit % 8)
				p.way[i] = slices.Clone(p.way[i])
				p.way[i][0] = f
			}
		}
		// A good link at last: everything arrives, and is acknowledged without more being sent.
		if err := p.cut(); err != nil {
			t.Fatal(err)
		}
		for i := range p.s {
			for len(p.way[i]) > 0 {
				m, err := p.deliver(i)
				receive(i, m, err)
			}
		}
		for i, s := range p.s {
			if s.AckPending() {
				p.way[i] = append(p.way[i], s.Ack())
			}
			for len(p.way[i]) > 0 {
				m, err := p.deliver(i)
				receive(i, m, err)
			}
		}
		for i, s := range p.s {
			if got[i] != sent[i] {
				t.Fatalf("side %d sent %d, arrived %d", i, sent[i], got[i])
			}
			if n, b := s.Waiting(); n != 0 || b != 0 || !s.Room() {
				t.Fatalf("side %d keeps %d frames, %d bytes", i, n, b)
			}
		}
	})
}

// TestFramesStay: frames that were handed out do not change when they are acknowledged, or sent again.
func TestFramesStay(t *testing.T) {
	p := newPair(SessionConfig{})
	var handed, copies [][]byte
	note := func(frames [][]byte) {
		for _, f := range frames {
			handed, copies = append(handed, f), append(copies, bytes.Clone(f))
		}
	}
	for n := range uint64(10) {
		frames, err := p.s[0].Send(call(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		note(frames)
		p.way[0] = append(p.way[0], frames...)
	}
	for range 5 {
		if _, err := p.deliver(0); err != nil {
			t.Fatal(err)
		}
	}
	again, err := p.s[0].Resume(p.s[1].Received())
	if err != nil {
		t.Fatal(err)
	}
	note(again)
	if _, err := p.s[0].Receive(p.s[1].Ack()); err != nil {
		t.Fatal(err)
	}
	if len(again) == 0 || !slices.EqualFunc(handed, copies, bytes.Equal) {
		t.Fatal("frames changed")
	}
}

func TestCredit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := CreditReceiver{Window: rapid.Uint64Range(1, 1000).Draw(t, "window")}
		var s CreditSender
		s.Grant(r.Initial())
		var grants []uint64
		sent, received, consumed := 0, 0, 0
		for range 200 {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				sent += s.Take(rapid.IntRange(-1, 700).Draw(t, "take"))
			case 1:
				n := rapid.IntRange(0, sent-received).Draw(t, "receive")
				if err := r.Receive(n); err != nil {
					t.Fatal(err)
				}
				received += n
			case 2:
				n := rapid.IntRange(0, received-consumed).Draw(t, "consume")
				consumed += n
				if limit, ok := r.Consume(n); ok {
					grants = append(grants, limit)
				}
			case 3:
				if len(grants) > 0 {
					s.Grant(grants[0])
					grants = grants[1:]
				}
			}
			if uint64(sent-consumed) > r.Window {
				t.Fatalf("%d bytes on the way, window %d", sent-consumed, r.Window)
			}
		}
		// Once all is consumed and granted the sender is free again.
		if err := r.Receive(sent - received); err != nil {
			t.Fatal(err)
		}
		if limit, ok := r.Consume(sent - consumed); ok {
			grants = append(grants, limit)
		}
		for _, g := range grants {
			s.Grant(g)
		}
		if s.Take(1) == 0 {
			t.Fatal("sender waits for ever")
		}
		if err := r.Receive(int(r.Window) + 1); !errors.Is(err, ErrProtocol) {
			t.Fatalf("output beyond credit: error %v", err)
		}
	})
}
