// Package hostdir looks at directories of the system: names, attributes, changes. It opens one name at a time below an open
// directory and never follows a link, so that it cannot be led elsewhere.
package hostdir

import (
	"fmt"
	"os"
	"slices"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Stat is what the system says of a file. Times are nanoseconds since 1970, zero before that.
type Stat struct {
	Kind               tree.Kind
	Type               uint8 // of KindOther: WASI's file type
	Mode               uint32
	UID, GID           uint32
	Nlink              uint32
	Dev, Ino           uint64
	Size, Mtime, Ctime uint64
	Sealed             bool // the system says that it cannot be written
}

// WASI's file types of what an image does not hold.
const (
	TypeUnknown = 0
	TypeBlock   = 1
	TypeChar    = 2
	TypeSocket  = 6
)

// Access tells what this process may do with files, by their permission bits.
type Access struct {
	all      bool // the superuser
	uid      uint32
	groups   []uint32 // sorted
	readOnly bool     // the file system is
	system   bool     // the system has no permission bits: it asks Stat.Sealed
}

// OwnAccess is that of this process, on a file system that may be read-only.
func OwnAccess(readOnly bool) Access {
	a := Access{readOnly: readOnly, uid: uint32(os.Geteuid()), groups: []uint32{uint32(os.Getegid())}}
	if os.Geteuid() < 0 {
		return Access{readOnly: readOnly, system: true}
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

// Key tells apart processes that may do different things.
func (a Access) Key() string { return fmt.Sprint(a.all, a.uid, a.groups, a.readOnly) }

// Flags says what may be done with a file.
func (a *Access) Flags(s *Stat) tree.Flags {
	bits := uint32(7)
	switch {
	case a.system:
		if s.Sealed {
			bits = 5
		}
	case a.all:
		if s.Kind != tree.KindDir && s.Mode&0o111 == 0 {
			bits = 6
		}
	case s.UID == a.uid:
		bits = s.Mode >> 6
	case a.member(s.GID):
		bits = s.Mode >> 3
	default:
		bits = s.Mode
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

func (a *Access) member(gid uint32) bool {
	_, ok := slices.BinarySearch(a.groups, gid)
	return ok
}
