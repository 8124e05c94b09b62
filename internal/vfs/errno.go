package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// Errno is an error number of WASI. Zero is success. It is an error, so that file systems can return it as one.
type Errno uint16

// The error numbers, with WASI's values.
const (
	Success Errno = iota
	E2BIG
	EACCES
	EADDRINUSE
	EADDRNOTAVAIL
	EAFNOSUPPORT
	EAGAIN
	EALREADY
	EBADF
	EBADMSG
	EBUSY
	ECANCELED
	ECHILD
	ECONNABORTED
	ECONNREFUSED
	ECONNRESET
	EDEADLK
	EDESTADDRREQ
	EDOM
	EDQUOT
	EEXIST
	EFAULT
	EFBIG
	EHOSTUNREACH
	EIDRM
	EILSEQ
	EINPROGRESS
	EINTR
	EINVAL
	EIO
	EISCONN
	EISDIR
	ELOOP
	EMFILE
	EMLINK
	EMSGSIZE
	EMULTIHOP
	ENAMETOOLONG
	ENETDOWN
	ENETRESET
	ENETUNREACH
	ENFILE
	ENOBUFS
	ENODEV
	ENOENT
	ENOEXEC
	ENOLCK
	ENOLINK
	ENOMEM
	ENOMSG
	ENOPROTOOPT
	ENOSPC
	ENOSYS
	ENOTCONN
	ENOTDIR
	ENOTEMPTY
	ENOTRECOVERABLE
	ENOTSOCK
	ENOTSUP
	ENOTTY
	ENXIO
	EOVERFLOW
	EOWNERDEAD
	EPERM
	EPIPE
	EPROTO
	EPROTONOSUPPORT
	EPROTOTYPE
	ERANGE
	EROFS
	ESPIPE
	ESRCH
	ESTALE
	ETIMEDOUT
	ETXTBSY
	EXDEV
	ENOTCAPABLE
	NumErrnos
)

var errnoNames = [NumErrnos]string{
	"success", "E2BIG", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY", "EBADF",
	"EBADMSG", "EBUSY", "ECANCELED", "ECHILD", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EDEADLK",
	"EDESTADDRREQ", "EDOM", "EDQUOT", "EEXIST", "EFAULT", "EFBIG", "EHOSTUNREACH", "EIDRM", "EILSEQ",
	"EINPROGRESS", "EINTR", "EINVAL", "EIO", "EISCONN", "EISDIR", "ELOOP", "EMFILE", "EMLINK", "EMSGSIZE",
	"EMULTIHOP", "ENAMETOOLONG", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENFILE", "ENOBUFS", "ENODEV", "ENOENT",
	"ENOEXEC", "ENOLCK", "ENOLINK", "ENOMEM", "ENOMSG", "ENOPROTOOPT", "ENOSPC", "ENOSYS", "ENOTCONN", "ENOTDIR",
	"ENOTEMPTY", "ENOTRECOVERABLE", "ENOTSOCK", "ENOTSUP", "ENOTTY", "ENXIO", "EOVERFLOW", "EOWNERDEAD", "EPERM",
	"EPIPE", "EPROTO", "EPROTONOSUPPORT", "EPROTOTYPE", "ERANGE", "EROFS", "ESPIPE", "ESRCH", "ESTALE",
	"ETIMEDOUT", "ETXTBSY", "EXDEV", "ENOTCAPABLE",
}

func (e Errno) String() string {
	if e < NumErrnos {
		return errnoNames[e]
	}
	return "errno " + strconv.Itoa(int(e))
}

func (e Errno) Error() string { return e.String() }

// ErrnoOf maps any error of a file system, of the os package or of the operating system to a number of WASI;
// nil to Success, what it does not know to EIO.
func ErrnoOf(err error) Errno {
	if err == nil {
		return Success
	}
	var e Errno
	if errors.As(err, &e) {
		return e
	}
	// os.Root reports a path that leaves it with a text only.
	if escapes(err) {
		return EPERM
	}
	if e, ok := fromSystem(err); ok {
		return e
	}
	for _, m := range errnoOfTarget {
		if errors.Is(err, m.target) {
			return m.errno
		}
	}
	return EIO
}

var errnoOfTarget = []struct {
	target error
	errno  Errno
}{
	{fs.ErrNotExist, ENOENT},
	{fs.ErrExist, EEXIST},
	{fs.ErrPermission, EACCES},
	{fs.ErrClosed, EBADF},
	{fs.ErrInvalid, EINVAL},
	{os.ErrDeadlineExceeded, EAGAIN},
	{errors.ErrUnsupported, ENOTSUP},
	{io.ErrClosedPipe, EPIPE},
	{io.ErrShortWrite, EIO},
	{context.Canceled, ECANCELED},
	{context.DeadlineExceeded, ETIMEDOUT},
}

func escapes(err error) bool {
	const text = "path escapes from parent"
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err != nil && pe.Err.Error() == text
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err != nil && le.Err.Error() == text
	}
	return err.Error() == text
}

// AbortError is an error of a file system's own machinery, not of a file: what it needs cannot be had here. It ends the
// call into the guest instead of being told to it.
type AbortError struct{ Err error }

func (e *AbortError) Error() string { return "file system: " + e.Err.Error() }

func (e *AbortError) Unwrap() error { return e.Err }
