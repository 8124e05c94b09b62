package wasi

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Kind says how a descriptor's calls are carried out.
type Kind uint8

// The kinds. They travel: never renumber.
const (
	KindFile   Kind = iota // regular file: positional, the offset is in the FD
	KindDir                // directory
	KindStream             // read and written in order, the position is the device's
	KindOutput             // a stream whose writes need no answer: stdout and stderr
	NumKinds
)

// Flags of a descriptor, with WASI's values.
const (
	FDAppend uint16 = 1 << iota
	FDDsync
	FDNonblock
	FDRsync
	FDSync
	fdFlagsMask = FDAppend | FDDsync | FDNonblock | FDRsync | FDSync
)

// FD is what a file descriptor number stands for.
type FD struct {
	Handle           uint64 // the device's name for it
	Kind             Kind
	Type             FileType
	Flags            uint16
	Base, Inheriting Rights
	Offset           uint64
	Preopen          string // guest's name of a preopened directory, else empty
}

// Clock ids of WASI that are served.
const (
	Realtime = iota
	Monotonic
	NumClocks
)

// Limits of a State.
const (
	MaxFDs     = 1 << 14
	MaxStrings = 1 << 16 // arguments, and variables
	MaxStrMem  = 8 << 20 // bytes of all of them
)

// State is the part of a process that WASI keeps: everything besides memory, globals and tables that a later
// call of the guest depends on and that is not the outside world's. It is plain data; not for concurrent use.
type State struct {
	Args, Env []string
	// Clocks are the last values returned, by clock id: a clock never runs backwards.
	Clocks [NumClocks]uint64
	// Rand answers random_get.
	Rand *rand.ChaCha8

	fds []*FD // by number, nil for a free one; the last is not nil
}

// NewState returns a state without descriptors.
func NewState(args, env []string, seed [32]byte) *State {
	return &State{Args: args, Env: env, Rand: rand.NewChaCha8(seed)}
}

// FD returns the entry of an open descriptor, or nil. It may be changed in place.
func (s *State) FD(fd uint32) *FD {
	if uint64(fd) < uint64(len(s.fds)) {
		return s.fds[fd]
	}
	return nil
}

// FDs yields the open descriptors in ascending order.
func (s *State) FDs() iter.Seq2[uint32, *FD] {
	return func(yield func(uint32, *FD) bool) {
		for i, f := range s.fds {
			if f != nil && !yield(uint32(i), f) {
				return
			}
		}
	}
}

// Insert gives f the lowest free number.
func (s *State) Insert(f *FD) (uint32, Errno) {
	i := slices.Index(s.fds, nil)
	if i < 0 {
		if len(s.fds) >= MaxFDs {
			return 0, vfs.EMFILE
		}
		i = len(s.fds)
		s.fds = append(s.fds, nil)
	}
	s.fds[i] = f
	return uint32(i), vfs.Success
}

// full says whether Insert would fail.
func (s *State) full() bool { return len(s.fds) >= MaxFDs && !slices.Contains(s.fds, nil) }

// Set puts f at a number, or frees it if f is nil; it fails beyond MaxFDs.
func (s *State) Set(fd uint32, f *FD) error {
	if fd >= MaxFDs {
		return fmt.Errorf("set descriptor %d: limit is %d", fd, MaxFDs)
	}
	for uint64(fd) >= uint64(len(s.fds)) {
		s.fds = append(s.fds, nil)
	}
	s.fds[fd] = f
	for n := len(s.fds); n > 0 && s.fds[n-1] == nil; n-- {
		s.fds = s.fds[:n-1]
	}
	return nil
}

// Clone returns an independent copy.
func (s *State) Clone() *State {
	c := &State{Args: slices.Clone(s.Args), Env: slices.Clone(s.Env), Clocks: s.Clocks}
	if s.Rand != nil {
		r := *s.Rand
		c.Rand = &r
	}
	c.fds = make([]*FD, len(s.fds))
	for i, f := range s.fds {
		if f != nil {
			g := *f
			c.fds[i] = &g
		}
	}
	return c
}
