package migrate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/clonecloud/clonecloud/internal/wasi"
)

var (
	// ErrDiverged marks a replay whose call differs from the journal's: the run cannot go on truthfully.
	ErrDiverged = errors.New("replay diverged from the journal")
	// ErrJournalFull marks an offload whose host-call results outgrew the journal's limit.
	ErrJournalFull = errors.New("journal is full")
	errJournalBad  = errors.New("journal file is damaged")
)

// Journal limits when JournalConfig leaves them zero, in bytes.
const (
	DefaultJournalMemory = 1 << 20
	DefaultJournalLimit  = 1 << 30
)

// JournalConfig bounds a journal. Zero fields mean the defaults.
type JournalConfig struct {
	Memory int64  // bytes held in memory before the journal spills to a file
	Limit  int64  // bytes in all
	Dir    string // where the file goes; "" means os.TempDir
}

// Entry is one host call of an offload: what was asked, as a digest, and what was answered.
type Entry struct {
	Op       wasi.Op
	Effect   bool     // it changed something outside the process; see Effect
	Digest   [32]byte // wasi.Request.Digest of the call
	Response []byte   // encoded wasi.Response
}

// Journal is the ordered record of one offload's host-call results. It is written while the offload runs
// and read once, by a fallback. One goroutine at a time.
type Journal struct {
	cfg     JournalConfig
	buf     []byte // records not yet in the file
	file    *os.File
	spilled int64
	count   int
	effects int // number of the last entry that has an effect
	last    Entry

	reader *bufio.Reader // over file, while a replay has not read it out
	taken  int64         // bytes read from it
	off    int           // in buf, of a replay
	read   int
}

// NewJournal returns an empty journal.
func NewJournal(cfg JournalConfig) *Journal {
	if cfg.Memory <= 0 {
		cfg.Memory = DefaultJournalMemory
	}
	if cfg.Limit <= 0 {
		cfg.Limit = DefaultJournalLimit
	}
	return &Journal{cfg: cfg}
}

const recordHeader = 4 + 1 + 1 + 32

// Room tells whether an entry with a response of n bytes may be appended.
func (j *Journal) Room(n int) bool { return j.Size()+int64(recordHeader+n) <= j.cfg.Limit }

// Append adds an entry. It fails only for want of Room: what has happened must be on record, so that entries stay in
// memory when the disk does not take them.
func (j *Journal) Append(e Entry) error {
	if !j.Room(len(e.Response)) {
		return fmt.Errorf("%w: more than %d bytes of host-call results", ErrJournalFull, j.cfg.Limit)
	}
	if int64(len(j.buf)+recordHeader+len(e.Response)) > j.cfg.Memory && len(j.buf) > 0 {
		if j.spill() != nil {
			j.cfg.Memory *= 2 // try again later
		}
	}
	j.buf = binary.LittleEndian.AppendUint32(j.buf, uint32(len(e.Response)))
	effect := byte(0)
	if e.Effect {
		effect, j.effects = 1, j.count+1
	}
	j.buf = append(j.buf, byte(e.Op), effect)
	j.buf = append(j.buf, e.Digest[:]...)
	j.buf = append(j.buf, e.Response...)
	j.last = e
	j.count++
	return nil
}

func (j *Journal) spill() error {
	if j.file == nil {
		f, err := os.CreateTemp(j.cfg.Dir, "clonecloud-journal-*")
		if err != nil {
			return err
		}
		// The name goes at once where the system allows it, so that a crash leaves nothing behind.
		os.Remove(f.Name())
		j.file = f
	}
	n, err := j.file.WriteAt(j.buf, j.spilled)
	if err != nil {
		return err // spilled stays: the partial write is overwritten by a later try
	}
	j.spilled += int64(n)
	j.buf = j.buf[:0]
	return nil
}

// Len is the number of entries, Size their bytes.
func (j *Journal) Len() int { return j.count }

// Size is the number of bytes that the entries take.
func (j *Journal) Size() int64 { return j.spilled + int64(len(j.buf)) }

// Last returns the newest entry; false when there is none.
func (j *Journal) Last() (Entry, bool) { return j.last, j.count > 0 }

// Remaining is the number of entries that a replay has not consumed.
func (j *Journal) Remaining() int { return j.count - j.read }

// Harmless tells whether none of the entries that a replay has not consumed has an effect.
func (j *Journal) Harmless() bool { return j.effects <= j.read }

// Next returns the next entry of a replay, io.EOF after the last. After the first Next no Append may follow.
func (j *Journal) Next() (Entry, error) {
	if j.read == j.count {
		return Entry{}, io.EOF
	}
	if j.file != nil && j.reader == nil {
		j.reader = bufio.NewReaderSize(io.NewSectionReader(j.file, 0, j.spilled), 64<<10)
	}
	e, err := j.next()
	if err != nil {
		return Entry{}, fmt.Errorf("%w: entry %d: %w", errJournalBad, j.read, err)
	}
	j.read++
	return e, nil
}

func (j *Journal) next() (Entry, error) {
	var head [recordHeader]byte
	if j.reader != nil && j.taken < j.spilled {
		if _, err := io.ReadFull(j.reader, head[:]); err != nil {
			return Entry{}, early(err)
		}
		n := int64(binary.LittleEndian.Uint32(head[:]))
		if j.taken += recordHeader + n; j.taken > j.spilled {
			return Entry{}, io.ErrUnexpectedEOF
		}
		e := entryOf(head[:], make([]byte, n))
		_, err := io.ReadFull(j.reader, e.Response)
		return e, early(err)
	}
	if len(j.buf)-j.off < recordHeader {
		return Entry{}, io.ErrUnexpectedEOF
	}
	copy(head[:], j.buf[j.off:])
	n := int(binary.LittleEndian.Uint32(head[:]))
	j.off += recordHeader
	if n > len(j.buf)-j.off {
		return Entry{}, io.ErrUnexpectedEOF
	}
	e := entryOf(head[:], j.buf[j.off:j.off+n:j.off+n])
	j.off += n
	return e, nil
}

// early makes an end where there must be none recognisable.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func entryOf(head, response []byte) Entry {
	e := Entry{Op: wasi.Op(head[4]), Effect: head[5] != 0, Response: response}
	copy(e.Digest[:], head[6:])
	return e
}

// Close drops the journal and its file.
func (j *Journal) Close() error {
	j.buf, j.count, j.read, j.effects, j.reader = nil, 0, 0, 0, nil
	if j.file == nil {
		return nil
	}
	name := j.file.Name()
	err := j.file.Close()
	os.Remove(name) // where an open file could not be removed
	j.file = nil
	return err
}
