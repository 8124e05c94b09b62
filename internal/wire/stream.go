package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// PagesWriter cuts a delta stream into Pages. Close sends what is left and PagesEnd.
type PagesWriter struct {
	offload uint64
	attempt uint32
	send    func(Message) error
	buf     []byte
	total   uint64
	err     error
}

// firstData is how much is gathered before there is room for a whole message.
const firstData = 8 << 10

// NewPagesWriter returns a writer that hands each Pages to send, which must be done with its bytes when it returns.
func NewPagesWriter(offload uint64, attempt uint32, send func(Message) error) *PagesWriter {
	return &PagesWriter{offload: offload, attempt: attempt, send: send}
}

// Write implements io.Writer.
func (w *PagesWriter) Write(p []byte) (int, error) {
	var n int
	for w.err == nil && n < len(p) {
		k := min(len(p)-n, MaxData-len(w.buf))
		if len(w.buf)+k > firstData { // most deltas are small, the others large
			w.buf = slices.Grow(w.buf, MaxData-len(w.buf))
		}
		w.buf = append(w.buf, p[n:n+k]...)
		n += k
		if len(w.buf) == MaxData {
			w.flush()
		}
	}
	return n, w.err
}

func (w *PagesWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		w.err = w.send(&Pages{Offload: w.offload, Attempt: w.attempt, Data: w.buf})
		w.total += uint64(len(w.buf))
		w.buf = w.buf[:0]
	}
}

// Total returns the bytes sent so far.
func (w *PagesWriter) Total() uint64 { return w.total }

// Close sends what is left and the end.
func (w *PagesWriter) Close() error {
	w.flush()
	if w.err == nil {
		w.err = w.send(&PagesEnd{Offload: w.offload, Attempt: w.attempt, Bytes: w.total})
	}
	return w.err
}

// PagesReader joins Pages into the delta stream. It asks next for messages and refuses all but the Pages and the
// PagesEnd of its attempt.
type PagesReader struct {
	offload uint64
	attempt uint32
	next    func() (Message, error)
	buf     []byte
	total   uint64
	err     error
}

// NewPagesReader returns a reader of the stream of one attempt.
func NewPagesReader(offload uint64, attempt uint32, next func() (Message, error)) *PagesReader {
	return &PagesReader{offload: offload, attempt: attempt, next: next}
}

// Read implements io.Reader. It returns io.EOF only after a PagesEnd with the right length.
func (r *PagesReader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.buf) == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

func (r *PagesReader) fill() {
	m, err := r.next()
	if err != nil {
		if errors.Is(err, io.EOF) { // only a PagesEnd is an end
			err = io.ErrUnexpectedEOF
		}
		r.err = fmt.Errorf("read delta stream: %w", err)
		return
	}
	switch m := m.(type) {
	case *Pages:
		if m.Offload != r.offload || m.Attempt != r.attempt {
			r.err = fmt.Errorf("read delta stream: pages of offload %d.%d: %w", m.Offload, m.Attempt, ErrProtocol)
			return
		}
		r.buf = m.Data
		r.total += uint64(len(m.Data))
	case *PagesEnd:
		switch {
		case m.Offload != r.offload || m.Attempt != r.attempt:
			r.err = fmt.Errorf("read delta stream: end of offload %d.%d: %w", m.Offload, m.Attempt, ErrProtocol)
		case m.Bytes != r.total:
			r.err = fmt.Errorf("read delta stream: %d bytes of %d: %w", r.total, m.Bytes, ErrProtocol)
		default:
			r.err = io.EOF
		}
	default:
		r.err = fmt.Errorf("read delta stream: %v in its midst: %w", m.Type(), ErrProtocol)
	}
}
