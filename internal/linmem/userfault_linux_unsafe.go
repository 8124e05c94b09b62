//go:build linux

package linmem

func userfaultWorks() bool { return false }

func newUserfault(*Memory) (tracker, error) { return nil, ErrNoTracker }
