package reconcile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
)

// The phases of a plan.
const (
	phaseWrite = iota
	phaseDisplace
	phasePlace
	numPhases
)

// The kinds of notes.
const (
	notePhase    = 1 + iota // u8: this phase is next
	noteBegun               // uvarints: these writes change files from now on
	noteDone                // uvarint: a write is made, durably
	noteSkipped             // uvarint: a write is not made, what is needed of it stands in the staging folder
	noteMoved               // two strings: what was to have the first path has the second
	noteConflict            // strings path, aside, kind, u8 mixed
	numNotes
)

const maxNotes = 1 << 30

// progress is how far a plan is, as its notes say.
type progress struct {
	phase     int
	begun     map[int]bool
	done      map[int]bool
	skipped   map[int]bool
	moved     map[string]string
	conflicts []Conflict
	byPath    map[string]int // positions in conflicts
}

func newProgress() *progress {
	return &progress{
		begun: map[int]bool{}, done: map[int]bool{}, skipped: map[int]bool{}, moved: map[string]string{}, byPath: map[string]int{},
	}
}

// add notes a conflict. Of one path there is one: what is learned later is added to it.
func (p *progress) add(c Conflict) Conflict {
	i, ok := p.byPath[c.Path]
	if !ok {
		p.byPath[c.Path] = len(p.conflicts)
		p.conflicts = append(p.conflicts, c)
		return c
	}
	old := &p.conflicts[i]
	if old.Kind == KindKept && c.Kind != KindKept {
		old.Kind = KindChanged // the name was not only removed
	}
	if c.Aside != "" {
		old.Aside = c.Aside
	}
	old.Mixed = old.Mixed || c.Mixed
	return *old
}

// notes is the file that a plan's progress is kept in: records of u8 kind, u32 length, payload, and the CRC-32C of all that. The
// first that is not whole is the end.
type notes struct {
	f  file
	at int64
}

func (n *notes) append(kind uint8, payload []byte) error {
	b := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	b = append(b, payload...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := n.f.WriteAt(b, n.at); err != nil {
		return err
	}
	n.at += int64(len(b))
	return nil
}

// openNotes opens the notes, or makes them.
func openNotes(state folder, name string) (*notes, *progress, error) {
	f, err := state.open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = state.create(name); err == nil {
			err = state.sync()
		}
	}
	if err != nil {
		return nil, nil, err
	}
	n := &notes{f: f}
	p, err := n.load()
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return n, p, nil
}

func (n *notes) load() (*progress, error) {
	st, err := n.f.stat()
	if err != nil {
		return nil, err
	}
	if st.size > maxNotes {
		return nil, ErrDamaged
	}
	b := make([]byte, st.size)
	if got, err := n.f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else {
		b = b[:got]
	}
	p, size := decodeNotes(b)
	n.at = int64(size)
	if uint64(size) < st.size {
		return p, n.f.truncate(uint64(size)) // what follows is half a record
	}
	return p, nil
}

// decodeNotes returns how far they lead, and how many bytes were whole.
func decodeNotes(b []byte) (*progress, int) {
	p := newProgress()
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

func (p *progress) take(kind uint8, payload []byte) bool {
	r := &reader{b: payload}
	switch kind {
	case notePhase:
		v := int(r.u8())
		if r.err != nil || v >= numPhases || v < p.phase {
			return false
		}
		p.phase = v
	case noteBegun:
		for r.err == nil && r.at < len(payload) {
			p.begun[int(r.uint())] = true
		}
	case noteDone:
		p.done[int(r.uint())] = true
	case noteSkipped:
		p.skipped[int(r.uint())] = true
	case noteMoved:
		from := r.string()
		p.moved[from] = r.string()
	case noteConflict:
		p.add(Conflict{Path: r.string(), Aside: r.string(), Kind: r.string(), Mixed: r.bool()})
	default:
		return false
	}
	return r.err == nil
}

func (c *Conflict) append(b []byte) []byte {
	b = appendString(appendString(appendString(b, c.Path), c.Aside), c.Kind)
	return appendBool(b, c.Mixed)
}
