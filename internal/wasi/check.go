package wasi

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrRefused marks a state that the other side cannot have come to.
var ErrRefused = errors.New("state refused")

// CheckReturned checks a state that a clone says the process has come to, from the state before. issued tells what
// the device issued an open handle for: the clone may have closed descriptors, moved them, and opened some through
// the device, but can have gained nothing else.
func CheckReturned(before, returned *State, issued func(handle uint64) (FD, bool)) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
	}
	switch {
	case !slices.Equal(before.Args, returned.Args):
		return refuse("arguments changed")
	case !slices.Equal(before.Env, returned.Env):
		return refuse("variables changed")
	case returned.Rand == nil:
		return refuse("no random generator")
	}
	for i, last := range before.Clocks {
		if now := returned.Clocks[i]; now < last || now > math.MaxInt64 {
			return refuse("clock %d went from %d to %d", i, last, now)
		}
	}
	had := map[uint64]*FD{}
	for _, f := range before.FDs() {
		had[f.Handle] = f
	}
	seen := map[uint64]bool{}
	for fd, f := range returned.FDs() {
		limit, ok := issued(f.Handle)
		if old := had[f.Handle]; old != nil {
			limit.Base &= old.Base // the guest may have dropped rights before
			limit.Inheriting &= old.Inheriting
		}
		switch {
		case fd >= MaxFDs:
			return refuse("descriptor %d", fd)
		case !ok:
			return refuse("descriptor %d: handle %d was not issued", fd, f.Handle)
		case seen[f.Handle]:
			return refuse("descriptor %d: handle %d has another", fd, f.Handle)
		case f.Kind != limit.Kind || f.Type != limit.Type || f.Preopen != limit.Preopen:
			return refuse("descriptor %d: not what handle %d was issued for", fd, f.Handle)
		case f.Base&^limit.Base != 0 || f.Inheriting&^limit.Inheriting != 0:
			return refuse("descriptor %d: more rights than handle %d was issued with", fd, f.Handle)
		case f.Flags&^fdFlagsMask != 0:
			return refuse("descriptor %d: flags %#x", fd, f.Flags)
		case f.Offset > math.MaxInt64 || f.Offset != 0 && f.Kind != KindFile:
			return refuse("descriptor %d: offset %d", fd, f.Offset)
		}
		seen[f.Handle] = true
	}
	return nil
}

// Handles returns the handles that a request names.
func (r *Request) Handles() []uint64 {
	switch r.Op {
	case OpClockTime, OpSleep:
		return nil
	case OpRename, OpLink:
		return []uint64{r.Handle, r.Handle2}
	case OpSymlink:
		return []uint64{r.Handle2}
	case OpPoll:
		var hs []uint64
		subs, _ := ParseSubs(r.Data)
		for _, s := range subs {
			if s.Kind != SubClock && s.Arg != 0 { // 0 stands for a bad descriptor
				hs = append(hs, s.Arg)
			}
		}
		return hs
	}
	return []uint64{r.Handle}
}
