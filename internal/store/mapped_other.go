//go:build !linux

package store

import (
	"errors"
	"os"
)

// openFlags are 0: what is opened was looked at a moment before.
const openFlags = 0

// lasting returns "": an open file has no path here that stays its own, so that a copy is verified.
func lasting(*os.File) (path string, err error) { return "", nil }

// copied is a copy in a file of this process's.
type copied struct{ file *os.File }

func newCopy() (*copied, error) {
	f, err := os.CreateTemp("", "clonecloud-code-*") // readable and writable for this user alone
	if err != nil {
		return nil, err
	}
	return &copied{f}, nil
}

// finish returns the path of the copy.
func (c *copied) finish() (path string, err error) { return c.file.Name(), nil }

func (c *copied) drop() error { return errors.Join(c.file.Close(), os.Remove(c.file.Name())) }
