package plan

import (
	"encoding/binary"
	"hash/crc32"
)

// The phases of a plan.
const (
	PhaseWrite = iota
	PhaseDisplace
	PhasePlace
	numPhases
)

// The kinds of notes.
const (
	NotePhase    = 1 + iota // u8: this phase is next
	NoteBegun               // uvarints: these writes change files from now on
	NoteDone                // uvarint: a write is made, durably
	NoteSkipped             // uvarint: a write is not made, what is needed of it stands in the staging folder
	NoteMoved               // two strings: what was to have the first path has the second
	NoteConflict            // strings path, aside, kind, u8 mixed
	numNotes
)

// Progress is how far a plan is, as its notes say.
type Progress struct {
	Phase     int
	Begun     map[int]bool
	Done      map[int]bool
	Skipped   map[int]bool
	Moved     map[string]string
	Conflicts []Conflict
	ByPath    map[string]int // positions in conflicts
}

// NewProgress is that of a plan of which nothing is done.
func NewProgress() *Progress {
	return &Progress{
		Begun: map[int]bool{}, Done: map[int]bool{}, Skipped: map[int]bool{}, Moved: map[string]string{}, ByPath: map[string]int{},
	}
}

// Add notes a conflict. Of one path there is one: what is learned later is added to it.
func (p *Progress) Add(c Conflict) Conflict {
	i, ok := p.ByPath[c.Path]
	if ok && c.Aside != "" && p.Conflicts[i].Aside != "" && p.Conflicts[i].Aside != c.Aside {
		ok = false // a second version was laid aside: each has to be told of
	}
	if !ok {
		p.ByPath[c.Path] = len(p.Conflicts)
		p.Conflicts = append(p.Conflicts, c)
		return c
	}
	old := &p.Conflicts[i]
	if old.Kind == KindKept && c.Kind != KindKept {
		old.Kind = KindChanged // the name was not only removed
	}
	if c.Aside != "" {
		old.Aside = c.Aside
	}
	old.Mixed = old.Mixed || c.Mixed
	return *old
}

// AppendNote appends a record: u8 kind, u32 length, payload, and the CRC-32C of all that.
func AppendNote(b []byte, kind uint8, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(append(b, kind), uint32(len(payload)))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// DecodeNotes returns how far they lead, and how many bytes were whole.
func DecodeNotes(b []byte) (*Progress, int) {
	p := NewProgress()
	at := 0
	for len(b)-at >= 9 {
		n := int(binary.LittleEndian.Uint32(b[at+1:]))
		if n < 0 || n > len(b)-at-9 {
			break
		}
		end := at + 5 + n
		if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[at:end], castagnoli) || !p.take(b[at], b[at+5:end]) {
			break
		}
		at = end + 4
	}
	return p, at
}

func (p *Progress) take(kind uint8, payload []byte) bool {
	r := &reader{b: payload}
	switch kind {
	case NotePhase:
		v := int(r.u8())
		if r.err != nil || v >= numPhases || v < p.Phase {
			return false
		}
		p.Phase = v
	case NoteBegun:
		for r.err == nil && r.at < len(payload) {
			p.Begun[int(r.uint())] = true
		}
	case NoteDone:
		p.Done[int(r.uint())] = true
	case NoteSkipped:
		p.Skipped[int(r.uint())] = true
	case NoteMoved:
		from := r.string()
		p.Moved[from] = r.string()
	case NoteConflict:
		p.Add(Conflict{Path: r.string(), Aside: r.string(), Kind: r.string(), Mixed: r.bool()})
	default:
		return false
	}
	return r.err == nil
}

// Append encodes a conflict for a note.
func (c *Conflict) Append(b []byte) []byte {
	b = AppendString(AppendString(AppendString(b, c.Path), c.Aside), c.Kind)
	return appendBool(b, c.Mixed)
}

// AppendIndex appends the position of a step.
func AppendIndex(b []byte, i int) []byte { return binary.AppendUvarint(b, uint64(i)) }
