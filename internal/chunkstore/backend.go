package chunkstore

import (
	"context"
	"errors"

	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
)

// Where items are kept, and what is said of them there.
type (
	Backend = place.Backend
	Stater  = place.Stater
	Item    = place.Item
	Info    = place.Info
)

// MaxItem is the length of the longest item.
const MaxItem = place.MaxItem

// Errors of stores, to be tested with errors.Is.
var (
	// ErrFull marks that the place where objects are kept has no more room.
	ErrFull = place.ErrFull
	// ErrDamaged marks what is there but not as it was stored.
	ErrDamaged = place.ErrDamaged
	// ErrQuota marks that a tenant has no more room: all that it keeps is reached from pinned roots.
	ErrQuota = errors.New("quota of kept files reached")
	// ErrKey marks a store that was made with another key, or with none.
	ErrKey = errors.New("files are kept here under another key")
	// ErrID marks data that its id does not belong to.
	ErrID = errors.New("data is not what its id says")
	// ErrClosed marks a call after Close.
	ErrClosed = errors.New("store is closed")
)

// OpenFolder opens a folder as a backend, and makes it if it is not there.
func OpenFolder(dir string) (Backend, error) { return place.OpenFolder(dir) }

// OpenS3 opens an S3-compatible object store as a backend: s3://host[:port]/bucket[/prefix][?options], as place.OpenS3 says.
func OpenS3(ctx context.Context, addr string) (Backend, error) { return place.OpenS3(ctx, addr) }

// NewMemory returns a backend in memory.
func NewMemory() Backend { return place.NewMemory() }
