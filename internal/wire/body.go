package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/clonecloud/clonecloud/internal/wire/wirepb"
)

// Sizes of the fixed fields before bulk.
const (
	moduleFields = 16
	pagesFields  = 12
	outputFields = 28
	filesFields  = 13
)

var errShort = errors.New("body ends early")

func (m *Module) sizeHint() int { return moduleFields + len(m.Data) }
func (m *Pages) sizeHint() int  { return pagesFields + len(m.Data) }
func (m *Output) sizeHint() int { return outputFields + len(m.Data) }

func (m *Files) sizeHint() int { return filesFields + len(m.Data) }

func (m *Module) appendBody(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, m.Total)
	b = binary.LittleEndian.AppendUint64(b, m.Offset)
	return append(b, m.Data...), nil
}

func (m *Module) decode(b []byte) error {
	if len(b) < moduleFields {
		return errShort
	}
	m.Total = binary.LittleEndian.Uint64(b)
	m.Offset = binary.LittleEndian.Uint64(b[8:])
	m.Data = b[moduleFields:]
	return nil
}

func (m *Pages) appendBody(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, m.Offload)
	b = binary.LittleEndian.AppendUint32(b, m.Attempt)
	return append(b, m.Data...), nil
}

func (m *Pages) decode(b []byte) error {
	if len(b) < pagesFields {
		return errShort
	}
	m.Offload = binary.LittleEndian.Uint64(b)
	m.Attempt = binary.LittleEndian.Uint32(b[8:])
	m.Data = b[pagesFields:]
	return nil
}

func (m *Output) appendBody(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, m.Offload)
	b = binary.LittleEndian.AppendUint32(b, m.Attempt)
	b = binary.LittleEndian.AppendUint64(b, m.Call)
	b = binary.LittleEndian.AppendUint64(b, m.Handle)
	return append(b, m.Data...), nil
}

func (m *Output) decode(b []byte) error {
	if len(b) < outputFields {
		return errShort
	}
	m.Offload = binary.LittleEndian.Uint64(b)
	m.Attempt = binary.LittleEndian.Uint32(b[8:])
	m.Call = binary.LittleEndian.Uint64(b[12:])
	m.Handle = binary.LittleEndian.Uint64(b[20:])
	m.Data = b[outputFields:]
	return nil
}

func (m *Files) appendBody(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, m.Offload)
	b = binary.LittleEndian.AppendUint32(b, m.Attempt)
	b = append(b, byte(m.Kind))
	return append(b, m.Data...), nil
}

func (m *Files) decode(b []byte) error {
	if len(b) < filesFields {
		return errShort
	}
	m.Offload = binary.LittleEndian.Uint64(b)
	m.Attempt = binary.LittleEndian.Uint32(b[8:])
	m.Kind = FilesKind(b[12])
	m.Data = b[filesFields:]
	return nil
}

// marshal appends the protobuf form, the same bytes for the same message.
func marshal(dst []byte, p proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, p)
}

// unmarshal refuses what this version does not know: both sides have the same version, and a field that one side
// ignores is one that the other believes in.
func unmarshal(b []byte, p proto.Message) error {
	if err := (proto.UnmarshalOptions{RecursionLimit: 4}).Unmarshal(b, p); err != nil {
		return fmt.Errorf("read protobuf: %w", err)
	}
	if u := p.ProtoReflect().GetUnknown(); len(u) > 0 {
		num, _, _ := protowire.ConsumeTag(u)
		return fmt.Errorf("read protobuf: unknown field %d", num)
	}
	return nil
}

// fixed copies a field of fixed length; an absent one is all zeros.
func fixed(what string, dst, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	if len(src) != len(dst) {
		return fmt.Errorf("%s of %d bytes", what, len(src))
	}
	copy(dst, src)
	return nil
}

// some leaves out a field of zeros.
func some(b []byte) []byte {
	for _, x := range b {
		if x != 0 {
			return b
		}
	}
	return nil
}

// small narrows an enumeration; what does not fit becomes a value that Validate refuses.
func small[T ~uint8](v uint32) T {
	if v > 255 {
		return T(255)
	}
	return T(v)
}

func (m *Image) toProto() *pb.Image {
	p := &pb.Image{
		Base: some(m.Base[:]), Next: some(m.Next[:]), MemoryBytes: m.MemoryBytes, Dropped: m.Dropped, Wasi: m.WASI,
		DeltaBytes: m.DeltaBytes,
	}
	if n := len(m.Globals); n > 0 {
		p.GlobalIndex = make([]uint32, n)
		p.GlobalType = make([]byte, n)
		p.GlobalLo = make([]uint64, n)
		for i, g := range m.Globals {
			p.GlobalIndex[i], p.GlobalType[i], p.GlobalLo[i] = g.Index, g.Type, g.Lo
			if g.Hi != 0 && p.GlobalHi == nil {
				p.GlobalHi = make([]uint64, n)
			}
			if g.Hi != 0 {
				p.GlobalHi[i] = g.Hi
			}
		}
	}
	return p
}

func (m *Image) fromProto(p *pb.Image) error {
	if p == nil {
		return errors.New("no image")
	}
	if len(p.ProtoReflect().GetUnknown()) > 0 {
		return errors.New("unknown field in image")
	}
	n := len(p.GlobalIndex)
	if len(p.GlobalType) != n || len(p.GlobalLo) != n || len(p.GlobalHi) != 0 && len(p.GlobalHi) != n {
		return errors.New("columns of globals differ in length")
	}
	if err := checkLen("globals", n, MaxGlobals); err != nil {
		return err
	}
	*m = Image{MemoryBytes: p.MemoryBytes, Dropped: p.Dropped, WASI: p.Wasi, DeltaBytes: p.DeltaBytes}
	if n > 0 {
		m.Globals = make([]Global, n)
	}
	for i := range m.Globals {
		m.Globals[i] = Global{Index: p.GlobalIndex[i], Type: p.GlobalType[i], Lo: p.GlobalLo[i]}
		if len(p.GlobalHi) > 0 {
			m.Globals[i].Hi = p.GlobalHi[i]
		}
	}
	return errors.Join(fixed("base", m.Base[:], p.Base), fixed("next", m.Next[:], p.Next))
}
