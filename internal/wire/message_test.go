package wire

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/clonecloud/clonecloud/internal/wire/wirepb"
)

var (
	idA, idB = ID{1, 2, 3}, ID{31: 9}
	tokA     = Token{5}
)

func image() Image {
	return Image{
		Base: idA, Next: idB, MemoryBytes: 3 << 16, DeltaBytes: 77,
		Globals: []Global{{Index: 0, Type: 0x7f, Lo: 5}, {Index: 3, Type: 0x7e, Lo: 1 << 63}, {Index: 9, Type: 0x7b, Lo: 1, Hi: 2}},
		Dropped: []uint32{0, 7}, WASI: []byte("state"),
	}
}

// messages holds one of each type, with every field set.
func messages() []Message {
	return []Message{
		&Hello{
			Version: 1, Module: idA, Process: tokA, Session: tokA, Code: idB, Options: OptionCanonicalNaN | OptionPoll, Early: true, VirtualClock: true, FilesOnly: true, FilesKey: idB,
			Engine: "wazero-compiler", Arch: "arm64", MemoryMax: 1 << 32, Resume: true, Candidates: []uint32{1, 5, 6},
			Hosts: []HostRange{{Func: 1, Pointer: 2, Length: 3, Size: 8, Direction: DirIn}, {Func: 1, Pointer: 4, Count: 5, Size: 1, Direction: DirInOut}},
		},
		&Welcome{Version: 1, Session: tokA, HaveModule: true, Resumed: true, State: idA, Engine: "e", Arch: "amd64", Speed: 4e8, Preferred: "p", HaveCode: true},
		&Module{Total: 100, Offset: 97, Data: []byte("abc")},
		&Migrate{Offload: 1, Attempt: 2, Candidate: 3, Continuation: ContinuationCall, Args: []uint64{0, 1 << 63}, Image: image()},
		&Pages{Offload: 1, Attempt: 2, Data: bytes.Repeat([]byte("x"), MaxData)},
		&PagesEnd{Offload: 1, Attempt: 2, Bytes: 1 << 31},
		&HomeCall{Offload: 1, Attempt: 2, Call: 3, Request: []byte("r")},
		&HomeResult{Offload: 1, Attempt: 2, Call: 3, Response: []byte("r")},
		&Output{Offload: 1, Attempt: 2, Call: 3, Handle: 4, Data: []byte("hello")},
		&Credit{Offload: 1, Attempt: 2, Limit: 1 << 20},
		&Note{Offload: 1, Attempt: 2, Call: 3, Request: []byte("clock"), Response: []byte("12:00")},
		&Reintegrate{
			Offload: 1, Attempt: 2, Outcome: OutcomeResults, Results: []uint64{7}, Trap: 3, Exit: 4, Detail: "text", Calls: 5,
			ExecNanos: 6, Engine: "e", Image: image(),
		},
		&Commit{Offload: 1, Attempt: 2, State: idB},
		&Cancel{Offload: 1, Attempt: 2, Reason: CancelOutput},
		&Refuse{Offload: 1, Attempt: 2, Code: CodeBase, Text: "why"},
		&Sync{},
		&SyncState{State: idA, MemoryBytes: 1 << 16, Written: []Range{{0, 2}, {3, 13}}},
		&Bye{Code: CodeDone, Text: "end"},
		&Ping{Stamp: 9},
		&Pong{Stamp: 9},
		&Ack{},
		&Files{Offload: 1, Attempt: 2, Kind: FilesGive, Data: bytes.Repeat([]byte("y"), MaxBody-filesFields)},
	}
}

func hostRange(r ...HostRange) *Hello { return &Hello{Session: tokA, Hosts: r} }

func TestMessages(t *testing.T) {
	seen := map[Type]bool{}
	for _, want := range messages() {
		typ := want.Type()
		t.Run(typ.String(), func(t *testing.T) {
			seq := uint64(0)
			if typ.Numbered() {
				seq = 41
			}
			f, err := Encode(seq, 40, want)
			if err != nil {
				t.Fatal(err)
			}
			if len(f) > HeaderSize+MaxBody {
				t.Fatalf("frame of %d bytes", len(f))
			}
			h, got, err := Decode(f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if h.Seq != seq || h.Ack != 40 || h.Type != typ || h.Length != len(f)-HeaderSize {
				t.Fatalf("header %+v", h)
			}
			// The zero message of the type is read back as itself too, where it is valid.
			zero := kinds[typ].make()
			if zero.Validate() == nil {
				f, err := Encode(seq, 0, zero)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := Decode(f); err != nil {
					t.Fatal(err)
				}
			}
		})
		seen[typ] = true
	}
	for typ := TypeHello; typ < numTypes; typ++ {
		if !seen[typ] {
			t.Errorf("no test of %v", typ)
		}
	}
}

// TestBounds: the largest message that Validate passes fits the bound of its type and goes through a session.
func TestBounds(t *testing.T) {
	big := Image{MemoryBytes: MaxMemory, DeltaBytes: MaxDelta, WASI: make([]byte, MaxWASI)}
	for i := range MaxGlobals {
		big.Globals = append(big.Globals, Global{Index: 1<<32 - MaxGlobals + uint32(i), Type: 0x7b, Lo: 1 << 63, Hi: 1 << 63})
	}
	for i := range MaxSegments {
		big.Dropped = append(big.Dropped, uint32(i))
	}
	const huge = 1<<64 - 1
	sync := &SyncState{State: idB, MemoryBytes: MaxMemory}
	for i := range uint32(MaxRanges) {
		sync.Written = append(sync.Written, Range{16 * i, 15})
	}
	slots := make([]uint64, MaxSlots)
	candidates := make([]uint32, MaxCandidates)
	for i := range candidates {
		candidates[i] = 1<<32 - MaxCandidates + uint32(i)
	}
	name := strings.Repeat("n", maxName)
	hosts := make([]HostRange, MaxHostRanges)
	for i := range hosts {
		hosts[i] = HostRange{1<<32 - MaxHostRanges + uint32(i), MaxParams - 1, 0, 1<<32 - 1, 1<<32 - 1, DirInOut}
	}
	for _, m := range []Message{
		&Hello{1 << 31, idB, tokA, tokA, idB, allOptions, name, name, MaxMemory, true, true, true, true, idB, candidates, hosts},
		&Module{1 << 30, 1<<30 - MaxData, make([]byte, MaxData)},
		&Migrate{huge, 1<<32 - 1, 1<<32 - 1, ContinuationCall, slots, big},
		&Reintegrate{huge, 1<<32 - 1, OutcomeResults, slots, 255, 1<<32 - 1, strings.Repeat("x", MaxText), huge, huge, name, big},
		&Pages{huge, 1<<32 - 1, make([]byte, MaxData)},
		&PagesEnd{huge, 1<<32 - 1, MaxDelta},
		&HomeCall{huge, 1<<32 - 1, huge, make([]byte, MaxCall)},
		&HomeResult{huge, 1<<32 - 1, huge, make([]byte, MaxCall)},
		&Note{huge, 1<<32 - 1, huge, make([]byte, MaxNote), make([]byte, MaxNote)},
		&Output{huge, 1<<32 - 1, huge, huge, make([]byte, MaxData)},
		&Credit{huge, 1<<32 - 1, huge},
		&Commit{huge, 1<<32 - 1, idB},
		&Cancel{huge, 1<<32 - 1, CancelStopped},
		&Refuse{huge, 1<<32 - 1, CodeInternal, strings.Repeat("x", MaxText)},
		&Bye{CodeInternal, strings.Repeat("x", MaxText)},
		&Ping{huge},
		sync,
	} {
		t.Run(m.Type().String(), func(t *testing.T) {
			a, b := NewSession(SessionConfig{}), NewSession(SessionConfig{})
			frames, err := a.Send(m)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range frames {
				got, err := b.Receive(f)
				if err != nil {
					t.Fatal(err)
				}
				if last := i == len(frames)-1; last != (got != nil) {
					t.Fatalf("frame %d of %d gives %T", i, len(frames), got)
				} else if last && !reflect.DeepEqual(got, m) {
					t.Fatal("message differs")
				}
			}
		})
	}
}

func TestValidate(t *testing.T) {
	with := func(change func(*Image)) *Migrate {
		m := &Migrate{Offload: 1, Attempt: 1, Continuation: ContinuationCall, Image: image()}
		change(&m.Image)
		return m
	}
	ranges := func(r ...Range) *SyncState { return &SyncState{MemoryBytes: 1 << 16, Written: r} }
	for name, m := range map[string]Message{
		"hello-no-session":     &Hello{},
		"hello-options":        &Hello{Session: tokA, Options: 4},
		"hello-memory":         &Hello{Session: tokA, MemoryMax: 1<<32 + 1<<16},
		"hello-name":           &Hello{Session: tokA, Engine: "a\x1b[31m"},
		"hello-name-long":      &Hello{Session: tokA, Engine: strings.Repeat("x", maxName+1)},
		"hello-candidates":     &Hello{Session: tokA, Candidates: []uint32{2, 2}},
		"host-parameter":       hostRange(HostRange{Pointer: MaxParams, Length: 1, Size: 1, Direction: DirIn}),
		"host-length":          hostRange(HostRange{Length: MaxParams, Size: 1, Direction: DirIn}),
		"host-no-size":         hostRange(HostRange{Length: 1, Direction: DirIn}),
		"host-two-lengths":     hostRange(HostRange{Length: 1, Count: 2, Size: 1, Direction: DirIn}),
		"host-no-length":       hostRange(HostRange{Size: 1, Direction: DirIn}),
		"host-no-direction":    hostRange(HostRange{Length: 1, Size: 1}),
		"host-direction":       hostRange(HostRange{Length: 1, Size: 1, Direction: 4}),
		"host-order":           hostRange(HostRange{Func: 1, Length: 1, Size: 1, Direction: DirIn}, HostRange{Length: 1, Size: 1, Direction: DirIn}),
		"host-ranges":          hostRange(slices.Repeat([]HostRange{{Length: 1, Size: 1, Direction: DirIn}}, MaxFuncRanges+1)...),
		"host-all-ranges":      hostRange(make([]HostRange, MaxHostRanges+1)...),
		"welcome-name":         &Welcome{Arch: "a b"},
		"welcome-preferred":    &Welcome{Preferred: "a b"},
		"module-beyond":        &Module{Total: 2, Offset: 1, Data: []byte("ab")},
		"module-offset":        &Module{Total: 2, Offset: 1<<64 - 1, Data: []byte("ab")},
		"module-total":         &Module{Total: 1 << 40},
		"migrate-no-offload":   &Migrate{Attempt: 1, Continuation: ContinuationCall},
		"migrate-no-attempt":   &Migrate{Offload: 1, Continuation: ContinuationCall},
		"migrate-stack":        &Migrate{Offload: 1, Attempt: 1, Continuation: ContinuationStack},
		"migrate-nothing":      &Migrate{Offload: 1, Attempt: 1},
		"migrate-args":         &Migrate{Offload: 1, Attempt: 1, Continuation: ContinuationCall, Args: make([]uint64, MaxSlots+1)},
		"image-memory":         with(func(i *Image) { i.MemoryBytes++ }),
		"image-memory-huge":    with(func(i *Image) { i.MemoryBytes = 1 << 40 }),
		"image-delta":          with(func(i *Image) { i.DeltaBytes = 1 << 40 }),
		"image-wasi":           with(func(i *Image) { i.WASI = make([]byte, MaxWASI+1) }),
		"image-dropped":        with(func(i *Image) { i.Dropped = []uint32{1, 1} }),
		"image-dropped-huge":   with(func(i *Image) { i.Dropped = []uint32{MaxSegments} }),
		"image-globals":        with(func(i *Image) { i.Globals = make([]Global, MaxGlobals+1) }),
		"global-order":         with(func(i *Image) { i.Globals[1].Index = 0 }),
		"global-type":          with(func(i *Image) { i.Globals[1].Type = 0x70 }),
		"global-i32":           with(func(i *Image) { i.Globals[0].Lo = 1 << 32 }),
		"global-i64-hi":        with(func(i *Image) { i.Globals[1].Hi = 1 }),
		"pages-long":           &Pages{Offload: 1, Attempt: 1, Data: make([]byte, MaxData+1)},
		"pages-end":            &PagesEnd{Offload: 1, Attempt: 1, Bytes: MaxDelta + 1},
		"home-call-zero":       &HomeCall{Offload: 1, Attempt: 1},
		"home-call-long":       &HomeCall{Offload: 1, Attempt: 1, Call: 1, Request: make([]byte, MaxCall+1)},
		"home-result-long":     &HomeResult{Offload: 1, Attempt: 1, Call: 1, Response: make([]byte, MaxCall+1)},
		"output-long":          &Output{Offload: 1, Attempt: 1, Call: 1, Data: make([]byte, MaxData+1)},
		"note-long":            &Note{Offload: 1, Attempt: 1, Call: 1, Request: make([]byte, MaxNote+1)},
		"credit-zero":          &Credit{},
		"reintegrate-nothing":  &Reintegrate{Offload: 1, Attempt: 1},
		"reintegrate-outcome":  &Reintegrate{Offload: 1, Attempt: 1, Outcome: numOutcomes},
		"reintegrate-results":  &Reintegrate{Offload: 1, Attempt: 1, Outcome: OutcomeTrap, Results: []uint64{1}},
		"reintegrate-engine":   &Reintegrate{Offload: 1, Attempt: 1, Outcome: OutcomeTrap, Engine: "a b"},
		"reintegrate-detail":   &Reintegrate{Offload: 1, Attempt: 1, Outcome: OutcomeTrap, Detail: "\xff"},
		"reintegrate-detail-2": &Reintegrate{Offload: 1, Attempt: 1, Outcome: OutcomeTrap, Detail: strings.Repeat("x", MaxText+1)},
		"commit-zero":          &Commit{},
		"cancel-reason":        &Cancel{Offload: 1, Attempt: 1},
		"cancel-reason-huge":   &Cancel{Offload: 1, Attempt: 1, Reason: numCancelReasons},
		"refuse-code":          &Refuse{},
		"bye-code":             &Bye{Code: numCodes},
		"bye-text":             &Bye{Code: CodeDone, Text: strings.Repeat("x", MaxText+1)},
		"range-empty":          ranges(Range{0, 0}),
		"range-beyond":         ranges(Range{0, 17}),
		"range-overflow":       ranges(Range{1<<32 - 1, 1<<32 - 1}),
		"range-touching":       ranges(Range{0, 1}, Range{1, 1}),
		"range-order":          ranges(Range{5, 1}, Range{1, 1}),
	} {
		t.Run(name, func(t *testing.T) {
			if err := m.Validate(); err == nil {
				t.Fatal("Validate passes it")
			}
			if _, err := Encode(1, 0, m); err == nil {
				t.Fatal("Encode passes it")
			}
			body, err := m.appendBody(nil)
			if err != nil {
				return // protobuf does not carry it
			}
			if _, err := DecodeBody(m.Type(), body); !errors.Is(err, ErrProtocol) {
				t.Fatalf("decode: error %v, want ErrProtocol", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	frame := func(t Type, f Flags, seq uint64, body string) []byte {
		return seal(append(appendHeader(nil, t, f, seq, 0), body...))
	}
	good := frame(TypePing, 0, 0, "")
	flipped := bytes.Clone(good)
	flipped[9] ^= 1
	reserved := bytes.Clone(good)
	reserved[6] = 1
	long := bytes.Clone(good)
	long[2] = 0xff
	for name, tc := range map[string]struct {
		frame []byte
		want  error
	}{
		"empty":          {nil, ErrCorrupt},
		"short":          {good[:HeaderSize-1], ErrCorrupt},
		"trailing":       {append(bytes.Clone(good), 0), ErrCorrupt},
		"flipped":        {flipped, ErrCorrupt},
		"too-long":       {long, ErrCorrupt},
		"reserved":       {seal(reserved), ErrProtocol},
		"type-zero":      {frame(0, 0, 0, ""), ErrProtocol},
		"type-unknown":   {frame(numTypes, 0, 0, ""), ErrProtocol},
		"flags":          {frame(TypeSync, 2, 1, ""), ErrProtocol},
		"number-missing": {frame(TypeSync, 0, 0, ""), ErrProtocol},
		"number-extra":   {frame(TypePing, 0, 1, ""), ErrProtocol},
		"more-empty":     {frame(TypeMigrate, FlagMore, 1, ""), ErrProtocol},
		"more-alone":     {frame(TypeMigrate, FlagMore, 1, "x"), ErrProtocol},
		"more-ping":      {frame(TypePing, FlagMore, 0, "x"), ErrProtocol},
		"not-protobuf":   {frame(TypePing, 0, 0, "\xff"), ErrProtocol},
		"unknown-field":  {frame(TypePing, 0, 0, "\x78\x01"), ErrProtocol},
		"ack-body":       {frame(TypeAck, 0, 0, "x"), ErrProtocol},
		"fixed-short":    {frame(TypeCommit, 0, 1, "\x08\x01\x10\x01\x1a\x01x"), ErrProtocol},
		"pages-short":    {frame(TypePages, 0, 1, "short"), ErrProtocol},
		"output-short":   {frame(TypeOutput, 0, 1, "short"), ErrProtocol},
		"module-short":   {frame(TypeModule, 0, 1, "short"), ErrProtocol},
		"no-image":       {frame(TypeMigrate, 0, 1, "\x08\x01\x10\x01\x20\x01"), ErrProtocol},
		"image-columns":  {frame(TypeMigrate, 0, 1, "\x08\x01\x10\x01\x20\x01\x32\x03\x22\x01\x00"), ErrProtocol},
		"image-unknown":  {frame(TypeMigrate, 0, 1, "\x08\x01\x10\x01\x20\x01\x32\x02\x78\x01"), ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := Decode(tc.frame); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := DecodeBody(TypeSync, make([]byte, 65)); !errors.Is(err, ErrProtocol) {
		t.Fatalf("body above the limit: error %v", err)
	}
	if _, err := Encode(0, 0, &Sync{}); err == nil {
		t.Fatal("numbered message without number is taken")
	}
	if _, err := Encode(1, 0, &HomeCall{Offload: 1, Attempt: 1, Call: 1, Request: make([]byte, MaxBody)}); err == nil {
		t.Fatal("message larger than a frame is taken")
	}
}

// FuzzDecode: what is taken is valid and says the same when encoded again.
func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		body, err := m.appendBody(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(m.Type()), body[:min(len(body), 300)])
	}
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		m, err := DecodeBody(Type(typ), body)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := m.appendBody(nil)
		if err != nil {
			t.Fatal(err)
		}
		m2, err := DecodeBody(Type(typ), again)
		if err != nil {
			t.Fatal(err)
		}
		again2, _ := m2.appendBody(nil)
		if !bytes.Equal(again, again2) {
			t.Fatalf("%+v is read back as %+v", m, m2)
		}
	})
}

// FuzzHosts decodes what is declared of host functions: what is taken is within bounds, and says the same when encoded again.
func FuzzHosts(f *testing.F) {
	hello := messages()[0].(*Hello)
	for _, list := range [][]HostRange{nil, hello.Hosts, hello.Hosts[:1], slices.Repeat(hello.Hosts[:1], MaxFuncRanges)} {
		p := &pb.Hello{Session: tokA[:]}
		hostsToProto(p, list)
		b, err := marshal(nil, p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := DecodeBody(TypeHello, body)
		if err != nil {
			return
		}
		h := m.(*Hello)
		funcs := map[uint32]int{}
		for i, r := range h.Hosts {
			funcs[r.Func]++
			if funcs[r.Func] > MaxFuncRanges || i >= MaxHostRanges || r.Pointer >= MaxParams || r.Length >= MaxParams || r.Size == 0 {
				t.Fatalf("taken: %+v", h.Hosts)
			}
		}
		again, err := h.appendBody(nil)
		if err != nil {
			t.Fatal(err)
		}
		var h2 Hello
		if err := h2.decode(again); err != nil || !slices.Equal(h.Hosts, h2.Hosts) {
			t.Fatalf("%+v is read back as %+v, %v", h.Hosts, h2.Hosts, err)
		}
	})
}

// FuzzFrames feeds frames to a session, after mending their checksums, so that mutations go deep.
func FuzzFrames(f *testing.F) {
	var all []byte
	a := NewSession(SessionConfig{})
	for _, m := range messages() {
		if m.sizeHint() > 1000 {
			continue
		}
		frames, err := a.Send(m)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, frames[0]...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		s := NewSession(SessionConfig{})
		for len(in) >= HeaderSize {
			h, err := ParseHeader(in)
			if err != nil || h.Length > len(in)-HeaderSize {
				return
			}
			frame := seal(bytes.Clone(in[:HeaderSize+h.Length]))
			in = in[len(frame):]
			before := s.Received()
			m, err := s.Receive(frame)
			switch {
			case err != nil && (m != nil || s.Received() != before):
				t.Fatal("session moved although it failed")
			case err != nil:
				return
			case m != nil && m.Validate() != nil:
				t.Fatalf("invalid %v: %v", m.Type(), m.Validate())
			}
		}
	})
}
