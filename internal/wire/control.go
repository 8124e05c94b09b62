package wire

import (
	"errors"

	pb "github.com/clonecloud/clonecloud/internal/wire/wirepb"
)

const smallHint = 128

func (m *Hello) sizeHint() int       { return 2*smallHint + 5*len(m.Candidates) + 16*len(m.Hosts) }
func (*Welcome) sizeHint() int       { return smallHint }
func (m *Migrate) sizeHint() int     { return m.Image.sizeHint() + 8*len(m.Args) }
func (*PagesEnd) sizeHint() int      { return 32 }
func (m *HomeCall) sizeHint() int    { return len(m.Request) + 32 }
func (m *HomeResult) sizeHint() int  { return len(m.Response) + 32 }
func (*Credit) sizeHint() int        { return 32 }
func (m *Note) sizeHint() int        { return len(m.Request) + len(m.Response) + 32 }
func (m *Reintegrate) sizeHint() int { return m.Image.sizeHint() + 8*len(m.Results) + len(m.Detail) }
func (*Commit) sizeHint() int        { return smallHint }
func (*Cancel) sizeHint() int        { return 32 }
func (m *Refuse) sizeHint() int      { return len(m.Text) + 32 }
func (*Sync) sizeHint() int          { return 0 }
func (m *SyncState) sizeHint() int   { return 8*len(m.Written) + 64 }
func (m *Bye) sizeHint() int         { return len(m.Text) + 16 }
func (*Ping) sizeHint() int          { return 16 }
func (*Pong) sizeHint() int          { return 16 }
func (*Ack) sizeHint() int           { return 0 }

func (m *Image) sizeHint() int {
	return 2*smallHint + 24*len(m.Globals) + 3*len(m.Dropped) + len(m.WASI)
}

func (m *Hello) appendBody(b []byte) ([]byte, error) {
	p := &pb.Hello{
		Version: m.Version, Module: some(m.Module[:]), Process: some(m.Process[:]), Session: some(m.Session[:]), Code: some(m.Code[:]),
		Options: uint32(m.Options), Engine: m.Engine, Arch: m.Arch, MemoryMax: m.MemoryMax, Resume: m.Resume,
		Candidates: m.Candidates, Early: m.Early, VirtualClock: m.VirtualClock, FilesOnly: m.FilesOnly, FilesKey: some(m.FilesKey[:]),
	}
	hostsToProto(p, m.Hosts)
	return marshal(b, p)
}

func (m *Hello) decode(b []byte) error {
	var p pb.Hello
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	*m = Hello{
		Version: p.Version, Options: Options(p.Options), Engine: p.Engine, Arch: p.Arch, MemoryMax: p.MemoryMax, Resume: p.Resume,
		Candidates: p.Candidates, Early: p.Early, VirtualClock: p.VirtualClock, FilesOnly: p.FilesOnly,
	}
	var err error
	if m.Hosts, err = hostsFromProto(&p); err != nil {
		return err
	}
	return errors.Join(fixed("module", m.Module[:], p.Module), fixed("process", m.Process[:], p.Process),
		fixed("session", m.Session[:], p.Session), fixed("code", m.Code[:], p.Code), fixed("files key", m.FilesKey[:], p.FilesKey))
}

func (m *Welcome) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Welcome{
		Version: m.Version, Session: some(m.Session[:]), HaveModule: m.HaveModule, Resumed: m.Resumed, State: some(m.State[:]),
		Engine: m.Engine, Arch: m.Arch, Speed: m.Speed, Preferred: m.Preferred, HaveCode: m.HaveCode,
	})
}

func (m *Welcome) decode(b []byte) error {
	var p pb.Welcome
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	*m = Welcome{
		Version: p.Version, HaveModule: p.HaveModule, Resumed: p.Resumed, Engine: p.Engine, Arch: p.Arch, Speed: p.Speed,
		Preferred: p.Preferred, HaveCode: p.HaveCode,
	}
	return errors.Join(fixed("session", m.Session[:], p.Session), fixed("state", m.State[:], p.State))
}

func (m *Migrate) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Migrate{
		Offload: m.Offload, Attempt: m.Attempt, Candidate: m.Candidate, Continuation: uint32(m.Continuation), Args: m.Args,
		Image: m.Image.toProto(),
	})
}

func (m *Migrate) decode(b []byte) error {
	var p pb.Migrate
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	*m = Migrate{
		Offload: p.Offload, Attempt: p.Attempt, Candidate: p.Candidate, Continuation: small[Continuation](p.Continuation), Args: p.Args,
	}
	return m.Image.fromProto(p.Image)
}

func (m *PagesEnd) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.PagesEnd{Offload: m.Offload, Attempt: m.Attempt, Bytes: m.Bytes})
}

func (m *PagesEnd) decode(b []byte) error {
	var p pb.PagesEnd
	err := unmarshal(b, &p)
	*m = PagesEnd{p.Offload, p.Attempt, p.Bytes}
	return err
}

func (m *HomeCall) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.HomeCall{Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Request: m.Request})
}

func (m *HomeCall) decode(b []byte) error {
	var p pb.HomeCall
	err := unmarshal(b, &p)
	*m = HomeCall{p.Offload, p.Attempt, p.Call, p.Request}
	return err
}

func (m *HomeResult) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.HomeResult{Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Response: m.Response})
}

func (m *HomeResult) decode(b []byte) error {
	var p pb.HomeResult
	err := unmarshal(b, &p)
	*m = HomeResult{p.Offload, p.Attempt, p.Call, p.Response}
	return err
}

func (m *Credit) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Credit{Offload: m.Offload, Attempt: m.Attempt, Limit: m.Limit})
}

func (m *Credit) decode(b []byte) error {
	var p pb.Credit
	err := unmarshal(b, &p)
	*m = Credit{p.Offload, p.Attempt, p.Limit}
	return err
}

func (m *Note) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Note{
		Offload: m.Offload, Attempt: m.Attempt, Call: m.Call, Request: m.Request, Response: m.Response,
	})
}

func (m *Note) decode(b []byte) error {
	var p pb.Note
	err := unmarshal(b, &p)
	*m = Note{p.Offload, p.Attempt, p.Call, p.Request, p.Response}
	return err
}

func (m *Reintegrate) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Reintegrate{
		Offload: m.Offload, Attempt: m.Attempt, Outcome: uint32(m.Outcome), Results: m.Results, Trap: uint32(m.Trap), Exit: m.Exit,
		Detail: m.Detail, Calls: m.Calls, ExecNanos: m.ExecNanos, Image: m.Image.toProto(), Engine: m.Engine,
	})
}

func (m *Reintegrate) decode(b []byte) error {
	var p pb.Reintegrate
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	if p.Trap > 255 {
		return errors.New("trap kind above 255")
	}
	*m = Reintegrate{
		Offload: p.Offload, Attempt: p.Attempt, Outcome: small[Outcome](p.Outcome), Results: p.Results, Trap: uint8(p.Trap),
		Exit: p.Exit, Detail: p.Detail, Calls: p.Calls, ExecNanos: p.ExecNanos, Engine: p.Engine,
	}
	return m.Image.fromProto(p.Image)
}

func (m *Commit) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Commit{Offload: m.Offload, Attempt: m.Attempt, State: some(m.State[:])})
}

func (m *Commit) decode(b []byte) error {
	var p pb.Commit
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	*m = Commit{Offload: p.Offload, Attempt: p.Attempt}
	return fixed("state", m.State[:], p.State)
}

func (m *Cancel) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Cancel{Offload: m.Offload, Attempt: m.Attempt, Reason: uint32(m.Reason)})
}

func (m *Cancel) decode(b []byte) error {
	var p pb.Cancel
	err := unmarshal(b, &p)
	*m = Cancel{p.Offload, p.Attempt, small[CancelReason](p.Reason)}
	return err
}

func (m *Refuse) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Refuse{Offload: m.Offload, Attempt: m.Attempt, Code: uint32(m.Code), Text: m.Text})
}

func (m *Refuse) decode(b []byte) error {
	var p pb.Refuse
	err := unmarshal(b, &p)
	*m = Refuse{p.Offload, p.Attempt, small[Code](p.Code), p.Text}
	return err
}

func (m *Sync) appendBody(b []byte) ([]byte, error) { return marshal(b, &pb.Sync{}) }
func (m *Sync) decode(b []byte) error               { return unmarshal(b, &pb.Sync{}) }

func (m *SyncState) appendBody(b []byte) ([]byte, error) {
	p := &pb.SyncState{State: some(m.State[:]), MemoryBytes: m.MemoryBytes}
	for _, r := range m.Written {
		p.First = append(p.First, r.First)
		p.Count = append(p.Count, r.Count)
	}
	return marshal(b, p)
}

func (m *SyncState) decode(b []byte) error {
	var p pb.SyncState
	if err := unmarshal(b, &p); err != nil {
		return err
	}
	if len(p.First) != len(p.Count) {
		return errors.New("columns of ranges differ in length")
	}
	if err := checkLen("ranges", len(p.First), MaxRanges); err != nil {
		return err
	}
	*m = SyncState{MemoryBytes: p.MemoryBytes}
	if len(p.First) > 0 {
		m.Written = make([]Range, len(p.First))
	}
	for i := range m.Written {
		m.Written[i] = Range{p.First[i], p.Count[i]}
	}
	return fixed("state", m.State[:], p.State)
}

func (m *Bye) appendBody(b []byte) ([]byte, error) {
	return marshal(b, &pb.Bye{Code: uint32(m.Code), Text: m.Text})
}

func (m *Bye) decode(b []byte) error {
	var p pb.Bye
	err := unmarshal(b, &p)
	*m = Bye{small[Code](p.Code), p.Text}
	return err
}

func (m *Ping) appendBody(b []byte) ([]byte, error) { return marshal(b, &pb.Ping{Stamp: m.Stamp}) }

func (m *Ping) decode(b []byte) error {
	var p pb.Ping
	err := unmarshal(b, &p)
	m.Stamp = p.Stamp
	return err
}

func (m *Pong) appendBody(b []byte) ([]byte, error) { return marshal(b, &pb.Pong{Stamp: m.Stamp}) }

func (m *Pong) decode(b []byte) error {
	var p pb.Pong
	err := unmarshal(b, &p)
	m.Stamp = p.Stamp
	return err
}

func (m *Ack) appendBody(b []byte) ([]byte, error) { return b, nil }
func (m *Ack) decode([]byte) error                 { return nil }
