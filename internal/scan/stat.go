package scan

import (
	"fmt"
	"os"
	"slices"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// stat is what the system says of a file. Times are nanoseconds since 1970, zero before that.
type stat struct {
	kind               tree.Kind
	typ                uint8 // of KindOther: WASI's file type
	mode               uint32
	uid, gid           uint32
	nlink              uint32
	dev, ino           uint64
	size, mtime, ctime uint64
	sealed             bool // the system says that it cannot be written
}

// WASI's file types of what an image does not hold.
const (
	typeUnknown = 0
	typeBlock   = 1
	typeChar    = 2
	typeSocket  = 6
)

// access tells what this process may do with files, by their permission bits.
type access struct {
	all      bool // the superuser
	uid      uint32
	groups   []uint32 // sorted
	readOnly bool     // the file system is
	system   bool     // the system has no permission bits: it asks stat.sealed
}

func ownAccess(readOnly bool) access {
	a := access{readOnly: readOnly, uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	if os.Geteuid() < 0 {
		return access{readOnly: readOnly, system: true}
	}
	a.all = a.uid == 0
	if more, err := os.Getgroups(); err == nil {
		for _, g := range more {
			a.groups = append(a.groups, uint32(g))
		}
	}
	slices.Sort(a.groups)
	a.groups = slices.Compact(a.groups)
	return a
}

// key tells apart processes that may do different things.
func (a access) key() string { return fmt.Sprint(a.all, a.uid, a.groups, a.readOnly) }

func (a *access) flags(s *stat) tree.Flags {
	bits := uint32(7)
	switch {
	case a.system:
		if s.sealed {
			bits = 5
		}
	case a.all:
		if s.kind != tree.KindDir && s.mode&0o111 == 0 {
			bits = 6
		}
	case s.uid == a.uid:
		bits = s.mode >> 6
	case a.member(s.gid):
		bits = s.mode >> 3
	default:
		bits = s.mode
	}
	var f tree.Flags
	if bits&4 != 0 {
		f |= tree.Readable
	}
	if bits&2 != 0 && !a.readOnly {
		f |= tree.Writable
	}
	if bits&1 != 0 {
		f |= tree.Searchable
	}
	return f
}

func (a *access) member(gid uint32) bool {
	_, ok := slices.BinarySearch(a.groups, gid)
	return ok
}
