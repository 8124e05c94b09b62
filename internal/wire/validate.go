package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

var errZeroOffload = errors.New("offload and attempt count from 1")

func checkOffload(offload uint64, attempt uint32) error {
	if offload == 0 || attempt == 0 {
		return errZeroOffload
	}
	return nil
}

func checkCall(offload uint64, attempt uint32, call uint64) error {
	if call == 0 {
		return errors.New("calls count from 1")
	}
	return checkOffload(offload, attempt)
}

func checkLen(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%s: %d, limit %d", what, n, limit)
	}
	return nil
}

// checkText bounds a text that is shown to people.
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s: %d bytes, limit %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: not UTF-8", what)
	}
	return nil
}

func checkName(what, s string) error {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return fmt.Errorf("%s: byte %#x in a name", what, s[i])
		}
	}
	return checkText(what, s, maxName)
}

func checkMemory(n uint64) error {
	if n > MaxMemory || n%wasmPage != 0 {
		return fmt.Errorf("memory of %d bytes", n)
	}
	return nil
}

// Validate implements Message.
func (m *Hello) Validate() error {
	switch {
	case m.Options&^allOptions != 0:
		return fmt.Errorf("options %#x", uint32(m.Options))
	case m.Session == Token{}:
		return errors.New("no session")
	}
	for i := 1; i < len(m.Candidates); i++ {
		if m.Candidates[i] <= m.Candidates[i-1] {
			return fmt.Errorf("candidate %d is out of order", m.Candidates[i])
		}
	}
	return errors.Join(checkHosts(m.Hosts), checkLen("candidates", len(m.Candidates), MaxCandidates), checkMemory(m.MemoryMax), checkName("engine", m.Engine), checkName("arch", m.Arch))
}

// Validate implements Message.
func (m *Welcome) Validate() error {
	if !(m.Speed >= 0 && m.Speed <= 1e15) {
		return fmt.Errorf("speed %g", m.Speed)
	}
	return errors.Join(checkName("engine", m.Engine), checkName("arch", m.Arch), checkName("preferred engine", m.Preferred))
}

// Validate implements Message.
func (m *Module) Validate() error {
	const maxModule = 1 << 30
	if m.Total > maxModule || m.Offset > m.Total || uint64(len(m.Data)) > m.Total-m.Offset {
		return fmt.Errorf("bytes %d to +%d of a module of %d", m.Offset, len(m.Data), m.Total)
	}
	return checkLen("bytes of module", len(m.Data), MaxData)
}

// Validate implements Message.
func (m *Files) Validate() error {
	if m.Kind == FilesInvalid || m.Kind >= FilesLast {
		return fmt.Errorf("kind %d", m.Kind)
	}
	return errors.Join(checkOffload(m.Offload, m.Attempt), checkLen("bytes of files", len(m.Data), MaxFiles))
}

func validType(t byte) bool { return t >= 0x7b && t <= 0x7f }

// Validate reports the first field that is out of bounds. Whether globals and segments exist, only the owner of the
// process can tell.
func (m *Image) Validate() error {
	if err := errors.Join(checkMemory(m.MemoryBytes), checkLen("globals", len(m.Globals), MaxGlobals),
		checkLen("dropped segments", len(m.Dropped), MaxSegments), checkLen("bytes of WASI state", len(m.WASI), MaxWASI)); err != nil {
		return err
	}
	if m.DeltaBytes > MaxDelta {
		return fmt.Errorf("delta of %d bytes", m.DeltaBytes)
	}
	for i, g := range m.Globals {
		switch {
		case i > 0 && m.Globals[i-1].Index >= g.Index:
			return fmt.Errorf("global %d out of order", g.Index)
		case !validType(g.Type):
			return fmt.Errorf("global %d of type %#x", g.Index, g.Type)
		case (g.Type == 0x7f || g.Type == 0x7d) && g.Lo>>32 != 0:
			return fmt.Errorf("global %d has more than 32 bits", g.Index)
		case g.Type != 0x7b && g.Hi != 0:
			return fmt.Errorf("global %d has more than 64 bits", g.Index)
		}
	}
	for i, d := range m.Dropped {
		if d >= MaxSegments || i > 0 && m.Dropped[i-1] >= d {
			return fmt.Errorf("dropped segment %d out of order", d)
		}
	}
	return nil
}

// Validate implements Message.
func (m *Migrate) Validate() error {
	if m.Continuation != ContinuationCall {
		return fmt.Errorf("continuation of kind %d is not supported", m.Continuation)
	}
	return errors.Join(checkOffload(m.Offload, m.Attempt), checkLen("arguments", len(m.Args), MaxSlots), m.Image.Validate())
}

// Validate implements Message.
func (m *Pages) Validate() error {
	return errors.Join(checkOffload(m.Offload, m.Attempt), checkLen("bytes of pages", len(m.Data), MaxData))
}

// Validate implements Message.
func (m *PagesEnd) Validate() error {
	if m.Bytes > MaxDelta {
		return fmt.Errorf("delta of %d bytes", m.Bytes)
	}
	return checkOffload(m.Offload, m.Attempt)
}

// Validate implements Message.
func (m *HomeCall) Validate() error {
	return errors.Join(checkCall(m.Offload, m.Attempt, m.Call), checkLen("bytes of request", len(m.Request), MaxCall))
}

// Validate implements Message.
func (m *HomeResult) Validate() error {
	return errors.Join(checkCall(m.Offload, m.Attempt, m.Call), checkLen("bytes of response", len(m.Response), MaxCall))
}

// Validate implements Message.
func (m *Output) Validate() error {
	return errors.Join(checkCall(m.Offload, m.Attempt, m.Call), checkLen("bytes of output", len(m.Data), MaxData))
}

// Validate implements Message.
func (m *Credit) Validate() error { return checkOffload(m.Offload, m.Attempt) }

// Validate implements Message.
func (m *Note) Validate() error {
	return errors.Join(checkCall(m.Offload, m.Attempt, m.Call), checkLen("bytes of request", len(m.Request), MaxNote),
		checkLen("bytes of response", len(m.Response), MaxNote))
}

// Validate implements Message.
func (m *Reintegrate) Validate() error {
	if m.Outcome == OutcomeInvalid || m.Outcome >= numOutcomes {
		return fmt.Errorf("%v", m.Outcome)
	}
	if len(m.Results) > 0 && m.Outcome != OutcomeResults {
		return fmt.Errorf("results with outcome %v", m.Outcome)
	}
	return errors.Join(checkOffload(m.Offload, m.Attempt), checkLen("results", len(m.Results), MaxSlots),
		checkText("detail", m.Detail, MaxText), checkName("engine", m.Engine), m.Image.Validate())
}

// Validate implements Message.
func (m *Commit) Validate() error { return checkOffload(m.Offload, m.Attempt) }

// Validate implements Message.
func (m *Cancel) Validate() error {
	if m.Reason == CancelInvalid || m.Reason >= numCancelReasons {
		return fmt.Errorf("%v", m.Reason)
	}
	return checkOffload(m.Offload, m.Attempt)
}

// Validate implements Message.
func (m *Refuse) Validate() error {
	return errors.Join(checkCode(m.Code), checkText("text", m.Text, MaxText))
}

// Validate implements Message.
func (m *Sync) Validate() error { return nil }

// Validate implements Message.
func (m *SyncState) Validate() error {
	if err := errors.Join(checkMemory(m.MemoryBytes), checkLen("ranges", len(m.Written), MaxRanges)); err != nil {
		return err
	}
	var end uint64
	for i, r := range m.Written {
		if r.Count == 0 || uint64(r.First) < end || i > 0 && uint64(r.First) == end {
			return fmt.Errorf("range of pages at %d out of order", r.First)
		}
		end = uint64(r.First) + uint64(r.Count)
		if end > m.MemoryBytes/pageSize {
			return fmt.Errorf("range of pages at %d ends beyond memory", r.First)
		}
	}
	return nil
}

// Validate implements Message.
func (m *Bye) Validate() error {
	return errors.Join(checkCode(m.Code), checkText("text", m.Text, MaxText))
}

func checkCode(c Code) error {
	if c == CodeInvalid || c >= numCodes {
		return fmt.Errorf("%v", c)
	}
	return nil
}

// Validate implements Message.
func (m *Ping) Validate() error { return nil }

// Validate implements Message.
func (m *Pong) Validate() error { return nil }

// Validate implements Message.
func (m *Ack) Validate() error { return nil }
