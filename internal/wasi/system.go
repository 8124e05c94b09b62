// Package wasi is WASI preview 1 (and its forerunner, wasi_unstable) for the guests: the state of a process that
// can be captured, sent and restored, the functions that guests import, and the device's side of every call.
//
// Funcs decode guest memory, keep the State and reach the outside only through a System. The side that executes
// owns file descriptor numbers and offsets; a System knows handles, which the device issues.
package wasi

import (
	"context"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// System is the one door through which a process reaches anything outside its own state: files, streams, clocks,
// sleep, polling. On the device it is Local; on a clone it sends most calls home; during a fallback it is answered
// from a journal first. Whoever wraps it sees every effect and every input of the process in order.
//
// Do carries out one call and fills resp, which it gets zeroed. It blocks as long as the call does; a cancelled ctx
// ends it. Errors of the call itself are in resp.Errno; an error that Do returns ends the guest (link gone, replay
// diverged, cancelled). req.Data and req.Buf may be guest memory and are valid during Do only; both structs belong
// to the caller and are used again. One goroutine at a time.
type System interface {
	Do(ctx context.Context, req *Request, resp *Response) error
}

// Errno and Stat are those of the file system.
type (
	Errno    = vfs.Errno
	Stat     = vfs.Stat
	FileType = vfs.FileType
)

// Op names what a Request asks. The numbers travel and are journaled: never renumber.
type Op uint8

// The operations, the fields of Request that each reads and those of Response that it fills besides Errno.
const (
	OpNone         Op = iota
	OpClockTime       // Flags clock id, Realtime, Monotonic last values -> Value
	OpSleep           // Data subscriptions, clocks only; last values -> Data events, Value (see OpPoll)
	OpOutput          // Handle, Data; to a stream that is one-way output -> N
	OpRead            // Handle (stream), Size, Buf, Flags FlagNonblock -> N, Data
	OpReadAt          // Handle, Offset, Size, Buf -> N, Data; N < Size without an error means the end
	OpWrite           // Handle (stream), Data, Flags FlagSync -> N
	OpWriteAt         // Handle, Offset, Data, Flags FlagSync -> N
	OpAppend          // Handle, Data, Flags FlagSync -> N, Value the offset behind it
	OpSeek            // Handle (stream), Offset as int64, Flags whence 0 set, 1 current, 2 end -> Value
	OpPoll            // Data subscriptions, Realtime, Monotonic -> Data events, Value ns to add to the last values
	OpOpen            // Handle dir, Path, Flags FlagFollow and open flags, Rights, Inheriting -> Handle, Stat, Rights, Inheriting
	OpClose           // Handle
	OpStat            // Handle -> Stat
	OpStatPath        // Handle dir, Path, Flags FlagFollow -> Stat
	OpSetTimes        // Handle, Flags FlagAtime.., Atime, Mtime, Realtime
	OpSetTimesPath    // Handle dir, Path, Flags as OpSetTimes and FlagFollow, Atime, Mtime, Realtime
	OpSetSize         // Handle, Size
	OpAllocate        // Handle, Offset, Size
	OpSync            // Handle, Flags FlagDataOnly
	OpReadDir         // Handle, Offset first entry, Size bytes that the guest has room for -> Data entries
	OpMkdir           // Handle dir, Path
	OpRmdir           // Handle dir, Path
	OpUnlink          // Handle dir, Path
	OpRename          // Handle dir, Path, Handle2 dir, Path2
	OpLink            // Handle dir, Path, Handle2 dir, Path2
	OpSymlink         // Path target, Handle2 dir, Path2
	OpReadlink        // Handle dir, Path -> Data
	NumOps
)

// OpOther is the first number for calls that are none of WASI's, of a System that serves more imports.
const OpOther Op = 0x80

// Flags of requests.
const (
	FlagFollow uint64 = 1 << iota
	FlagCreate
	FlagDirectory
	FlagExclusive
	FlagTruncate
	FlagNonblock
	FlagSync     // make what was written durable, attributes too
	FlagDataOnly // with FlagSync or OpSync: content is enough
	FlagAtime    // set to Atime
	FlagAtimeNow
	FlagMtime // set to Mtime
	FlagMtimeNow
)

// Limits of one Request and Response. Longer reads and writes of a guest are several requests.
const (
	MaxIO   = 1 << 20 // bytes of Data and Buf
	MaxList = 1 << 18 // bytes of a guest's buffer that one OpReadDir fills
	MaxPath = 4096    // bytes of a path or link target
)

// Request is one call. Which fields count depends on Op. Handles are issued by the device's System and never
// used again for something else; file descriptor numbers do not appear here.
type Request struct {
	Op                  Op
	Handle              uint64
	Handle2             uint64
	Path, Path2         string
	Offset              uint64
	Size                uint64
	Flags               uint64
	Rights, Inheriting  Rights // wanted at an open
	Atime, Mtime        uint64
	Realtime, Monotonic uint64 // the last values that the process saw
	Data                []byte // input bytes (writes)
	// Buf is where a read puts its bytes: guest memory itself when the call is carried out locally. It is not
	// part of the encoded form; only its length is (as Size).
	Buf []byte
}

// Response is the answer. N bytes of Request.Buf were filled by a read; Data carries them when the answer travelled.
type Response struct {
	Errno              Errno
	Handle             uint64
	N                  uint64
	Value              uint64
	Rights, Inheriting Rights
	Stat               Stat
	Data               []byte
}

// Where says which side carries an operation out while the process runs on a clone.
type Where uint8

// The places.
const (
	AtHome  Where = iota // home call: the device answers
	AtClone              // the clone answers and journals the result
	OneWay               // sent to the device in order; the clone goes on as if it had succeeded
)

// Where classifies an operation.
func (o Op) Where() Where {
	switch o {
	case OpClockTime, OpSleep:
		return AtClone
	case OpOutput:
		return OneWay
	}
	return AtHome
}

var opTable = [NumOps]struct {
	name    string
	imports []string
}{
	OpNone:         {"none", nil},
	OpClockTime:    {"clock-time", []string{"clock_time_get"}},
	OpSleep:        {"sleep", []string{"poll_oneoff"}},
	OpOutput:       {"output", []string{"fd_write"}},
	OpRead:         {"read", []string{"fd_read"}},
	OpReadAt:       {"read-at", []string{"fd_read", "fd_pread"}},
	OpWrite:        {"write", []string{"fd_write"}},
	OpWriteAt:      {"write-at", []string{"fd_write", "fd_pwrite"}},
	OpAppend:       {"append", []string{"fd_write"}},
	OpSeek:         {"seek", []string{"fd_seek", "fd_tell"}},
	OpPoll:         {"poll", []string{"poll_oneoff"}},
	OpOpen:         {"open", []string{"path_open"}},
	OpClose:        {"close", []string{"fd_close", "fd_renumber"}},
	OpStat:         {"stat", []string{"fd_filestat_get", "fd_seek"}},
	OpStatPath:     {"stat-path", []string{"path_filestat_get"}},
	OpSetTimes:     {"set-times", []string{"fd_filestat_set_times"}},
	OpSetTimesPath: {"set-times-path", []string{"path_filestat_set_times"}},
	OpSetSize:      {"set-size", []string{"fd_filestat_set_size"}},
	OpAllocate:     {"allocate", []string{"fd_allocate"}},
	OpSync:         {"sync", []string{"fd_sync", "fd_datasync"}},
	OpReadDir:      {"read-dir", []string{"fd_readdir"}},
	OpMkdir:        {"mkdir", []string{"path_create_directory"}},
	OpRmdir:        {"rmdir", []string{"path_remove_directory"}},
	OpUnlink:       {"unlink", []string{"path_unlink_file"}},
	OpRename:       {"rename", []string{"path_rename"}},
	OpLink:         {"link", []string{"path_link"}},
	OpSymlink:      {"symlink", []string{"path_symlink"}},
	OpReadlink:     {"readlink", []string{"path_readlink"}},
}

// Imports names the WASI imports that may cause the operation, in either module. The slice is shared.
func (o Op) Imports() []string {
	if o < NumOps {
		return opTable[o].imports
	}
	return nil
}

func (o Op) String() string {
	if o < NumOps {
		return opTable[o].name
	}
	if o == OpOther {
		return "host-call"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// ExitError is how proc_exit ends a guest.
type ExitError struct{ Code uint32 }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// Serve carries out a request that came from outside: it makes room for a read and moves what was read to
// resp.Data, so that resp can be encoded.
func Serve(ctx context.Context, s System, req *Request, resp *Response) error {
	if req.Op == OpRead || req.Op == OpReadAt {
		if req.Size > MaxIO {
			resp.Errno = vfs.EINVAL
			return nil
		}
		req.Buf = make([]byte, req.Size)
	}
	if err := s.Do(ctx, req, resp); err != nil {
		return err
	}
	if req.Buf != nil && resp.Data == nil {
		resp.Data = req.Buf[:resp.N]
	}
	return nil
}

// Fill is the other end of Serve: it moves what an answer that travelled carries into req.Buf.
func (r *Response) Fill(req *Request) error {
	if req.Op != OpRead && req.Op != OpReadAt {
		return nil
	}
	if r.N > uint64(len(req.Buf)) || r.N != uint64(len(r.Data)) {
		return fmt.Errorf("fill %v: answer of %d bytes, %d carried, into %d", req.Op, r.N, len(r.Data), len(req.Buf))
	}
	copy(req.Buf, r.Data)
	r.Data = nil
	return nil
}
