package local

import (
	"context"
	"errors"
	"io"
	"math"
	"os"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// stream is what a process reads or writes in order: stdio, and devices and pipes that it opens.
type stream struct {
	r       io.Reader
	w       io.Writer
	file    *os.File // r or w if it is one
	pump    *pump    // reads r where the system cannot say whether a read would block
	memory  bool     // r never blocks
	virtual bool     // always ready
}

func newStream(r io.Reader, w io.Writer) *stream {
	s := &stream{r: r, w: w}
	if f, ok := r.(*os.File); ok {
		s.file = f
		if f == nil {
			s.r, s.file = nil, nil
		}
	}
	_, s.memory = r.(interface{ Len() int }) // bytes.Buffer, strings.Reader and such
	switch w := w.(type) {
	case *os.File:
		if s.file = w; w == nil {
			s.w = nil
		}
	case interface{ OSFile() *os.File }: // writes to a file, with something besides
		s.file = w.OSFile()
	}
	return s
}

// fileType tells a terminal, a regular file and other things apart, as guests want to know.
func (s *stream) fileType() wasi.FileType {
	if s.file == nil {
		return vfs.TypeUnknown
	}
	fi, err := s.file.Stat()
	switch {
	case err != nil:
		return vfs.TypeUnknown
	case fi.Mode().IsRegular():
		return vfs.TypeRegular
	case fi.Mode()&os.ModeCharDevice != 0:
		return vfs.TypeCharDevice
	}
	return vfs.TypeUnknown
}

// doStream carries out a request for a handle that is a stream.
func (h *handle) doStream(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	s := h.stream
	switch req.Op {
	case wasi.OpRead:
		if err := h.need(wasi.RightRead, false); err != nil {
			return err
		}
		n, err := s.read(ctx, req.Buf, req.Flags&wasi.FlagNonblock != 0)
		resp.N = uint64(n)
		return err
	case wasi.OpOutput, wasi.OpWrite:
		if err := h.need(wasi.RightWrite, true); err != nil {
			return err
		}
		n, err := s.write(req.Data)
		resp.N = uint64(n)
		if err == nil {
			err = s.syncIf(req.Flags)
		}
		return err
	case wasi.OpSeek:
		if h.need(wasi.RightSeek, false) != nil || s.file == nil {
			return vfs.ESPIPE
		}
		if req.Flags > 2 {
			return vfs.EINVAL
		}
		at, err := s.file.Seek(int64(req.Offset), int(req.Flags))
		resp.Value = uint64(at)
		return err
	case wasi.OpStat:
		resp.Stat = h.stat
		if h.stat.Type == vfs.TypeRegular {
			fi, err := s.file.Stat()
			if err != nil {
				return err
			}
			resp.Stat.Size = uint64(fi.Size())
			resp.Stat.Mtime = uint64(max(fi.ModTime().UnixNano(), 0))
			resp.Stat.Atime, resp.Stat.Ctime = resp.Stat.Mtime, resp.Stat.Mtime
		}
		return nil
	case wasi.OpSync:
		if err := h.need(wasi.RightSync, false); err != nil {
			return err
		}
		if h.file != nil {
			return h.file.Sync(req.Flags&wasi.FlagDataOnly != 0)
		}
		return s.syncIf(wasi.FlagSync)
	case wasi.OpSetTimes, wasi.OpSetSize, wasi.OpAllocate, wasi.OpReadAt, wasi.OpWriteAt, wasi.OpAppend:
		return vfs.EINVAL
	}
	return vfs.EBADF
}

func (s *stream) syncIf(flags uint64) error {
	if flags&wasi.FlagSync == 0 || s.file == nil {
		return nil
	}
	err := s.file.Sync()
	if e := vfs.ErrnoOf(err); e == vfs.EINVAL || e == vfs.ENOTSUP {
		return nil // a pipe or a terminal has nothing to sync
	}
	return err
}

func (s *stream) write(b []byte) (int, error) {
	if s.w == nil {
		return len(b), nil
	}
	n, err := s.w.Write(b)
	if n < 0 || n > len(b) {
		return 0, vfs.EIO
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// read reads at least one byte unless the stream has ended, or says EAGAIN if that would have to wait.
func (s *stream) read(ctx context.Context, b []byte, nonblock bool) (int, error) {
	if s.r == nil || len(b) == 0 {
		return 0, nil
	}
	if nonblock && !s.virtual {
		switch err := s.waitRead(ctx, 0); {
		case errors.Is(err, errNotReady):
			return 0, vfs.EAGAIN
		case err != nil:
			return 0, err
		}
	}
	if s.pump == nil && s.file != nil && pollable {
		if err := waitFile(ctx, s.file, false, -1); err != nil {
			return 0, err
		}
		return endIsZero(s.r.Read(b))
	}
	if s.memory {
		return endIsZero(s.r.Read(b))
	}
	return s.buffered().read(ctx, b)
}

func endIsZero(n int, err error) (int, error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if n > 0 {
		err = nil // it will show again
	}
	return max(n, 0), err
}

// waitRead waits until a read would not block, at most wait ns (math.MaxUint64: for ever).
func (s *stream) waitRead(ctx context.Context, wait uint64) error {
	if s.r == nil || s.virtual || s.memory {
		return nil
	}
	if s.pump == nil && s.file != nil && pollable {
		return waitFile(ctx, s.file, false, milliseconds(wait))
	}
	return s.buffered().wait(ctx, wait)
}

func (s *stream) waitWrite(ctx context.Context, wait uint64) error {
	if s.w == nil || s.virtual || s.file == nil || !pollable {
		return nil
	}
	return waitFile(ctx, s.file, true, milliseconds(wait))
}

// milliseconds rounds up; -1 is for ever.
func milliseconds(ns uint64) int {
	if ns == math.MaxUint64 {
		return -1
	}
	return int(min((ns+999_999)/1_000_000, math.MaxInt32))
}

func (s *stream) buffered() *pump {
	if s.pump == nil {
		s.pump = &pump{r: s.r, done: make(chan pumped, 1)}
	}
	return s.pump
}

// pump reads in a goroutine, so that waiting can end before the read does. It reads when asked and no more than
// was asked for; what arrives after the asker has gone stays for the next.
type pump struct {
	r    io.Reader
	done chan pumped
	busy bool // a read is under way
	rest pumped
}

type pumped struct {
	b   []byte
	err error
}

// peek is how much is read to learn whether there is something.
const peek = 512

func (p *pump) ask(n int) {
	if p.busy {
		return
	}
	p.busy = true
	r, done, buf := p.r, p.done, make([]byte, n)
	go func() {
		n, err := r.Read(buf)
		done <- pumped{buf[:max(min(n, len(buf)), 0)], err}
	}()
}

func (p *pump) ready() bool { return len(p.rest.b) > 0 || p.rest.err != nil }

func (p *pump) read(ctx context.Context, b []byte) (int, error) {
	for !p.ready() {
		p.ask(len(b))
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case p.rest = <-p.done:
			p.busy = false
		}
	}
	n := copy(b, p.rest.b)
	p.rest.b = p.rest.b[n:]
	if n > 0 {
		return n, nil
	}
	err := p.rest.err
	if !errors.Is(err, io.EOF) {
		p.rest.err = nil // may pass; the end stays
	}
	return endIsZero(0, err)
}

// errNotReady is what a stream says that would have to wait.
var errNotReady = errors.New("not ready")
