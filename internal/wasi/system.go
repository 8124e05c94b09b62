package wasi

import "context"

// System is the one door through which a process reaches anything outside its own state: files, streams, clocks,
// sleep, polling. On the device it is Local; on a clone it sends most calls home; during a fallback it is answered
// from a journal first. Whoever wraps it sees every effect and every input of the process in order.
//
// Do carries out one call and fills resp. It blocks as long as the call does; a cancelled ctx ends it. Errors of
// the call itself are in resp.Errno; an error that Do returns ends the guest (link gone, replay diverged, cancelled).
// One goroutine at a time.
type System interface {
	Do(ctx context.Context, req *Request, resp *Response) error
}

// Op names what a Request asks. The numbers travel and are journaled: never renumber.
type Op uint8

// Request is one call. Which fields count depends on Op (see the table at the Op constants).
// Handles are issued by the device's System and never reused; file descriptor numbers do not appear here.
type Request struct {
	Op           Op
	Handle       uint64
	Handle2      uint64
	Path, Path2  string
	Offset       uint64
	Size         uint64
	Flags        uint64
	Rights       uint64 // access wanted at an open
	Atime, Mtime uint64
	Data         []byte // input bytes (writes)
	// Buf is where a read puts its bytes: guest memory itself when the call is carried out locally. It is not
	// part of the encoded form; only its length is (as Size).
	Buf []byte
}

// Response is the answer. N bytes of Request.Buf were filled by a read; Data carries them when the answer travelled.
type Response struct {
	Errno  Errno
	Handle uint64
	N      uint64
	Value  uint64 // clock, new offset, number of events
	Stat   Stat
	Data   []byte
}
