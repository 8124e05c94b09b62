package wasi

import "github.com/clonecloud/clonecloud/internal/vfs"

type listEntry struct {
	name string
	ino  uint64
	typ  FileType
}

func (l *Local) doFile(h *handle, req *Request, resp *Response) error { return vfs.ENOSYS }
func (l *Local) doPath(req *Request, resp *Response) error            { return vfs.ENOSYS }
