package reconcile

import (
	"errors"
	"io"
	"io/fs"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/reconcile/plan"
)

const maxNotes = 1 << 30

// notes is the file that a plan's progress is kept in.
type notes struct {
	f  disk.File
	at int64
}

func (n *notes) append(kind uint8, payload []byte) error {
	b := plan.AppendNote(nil, kind, payload)
	if _, err := n.f.WriteAt(b, n.at); err != nil {
		return err
	}
	n.at += int64(len(b))
	return nil
}

// openNotes opens the notes, or makes them.
func openNotes(state disk.Folder, name string) (*notes, *plan.Progress, error) {
	f, err := state.Open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = state.Create(name); err == nil {
			err = state.Sync()
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

func (n *notes) load() (*plan.Progress, error) {
	st, err := n.f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size > maxNotes {
		return nil, ErrDamaged
	}
	b := make([]byte, st.Size)
	if got, err := n.f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else {
		b = b[:got]
	}
	p, size := plan.DecodeNotes(b)
	n.at = int64(size)
	if uint64(size) < st.Size {
		return p, n.f.Truncate(uint64(size)) // what follows is half a record
	}
	return p, nil
}
