// Package place is where a chunkstore keeps its items: the interface Backend, and a folder, an S3-compatible object store
// and memory that implement it. It knows names and bytes only.
package place

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// MaxItem is the length of the longest item that a backend keeps.
const MaxItem = tree.MaxObject + 1024

// Backend keeps items by name. Its methods may be called by many goroutines, and several processes may use the same
// place. Names are those that ValidName accepts. An item appears and is replaced whole, never in part.
type Backend interface {
	// Get returns an item, in buf's memory if its capacity suffices; the error matches fs.ErrNotExist if there is none,
	// and ErrDamaged if what is there cannot be an item.
	Get(ctx context.Context, name string, buf []byte) ([]byte, error)
	// PutAll stores items, in place of what has their names. All are durable when it returns nil; after an error some
	// may be. The error matches ErrFull if there is no room. The data is not kept.
	PutAll(ctx context.Context, items []Item) error
	// Delete removes items. Those that are not there are no error.
	Delete(ctx context.Context, names ...string) error
	// List calls f for each item whose name begins with prefix, in any order, and for what else it finds there, which
	// no other method can reach, with the flag Foreign. It ends with f's error.
	List(ctx context.Context, prefix string, f func(Info) error) error
	// Touch says that items were used now. Those that are not there are no error.
	Touch(ctx context.Context, names ...string) error
	// Close gives up what the backend holds. No other method may be called then.
	Close() error
}

// Stater is a Backend that can tell at little cost whether an item is there.
type Stater interface {
	// Stat returns what List would say; the error matches fs.ErrNotExist if there is no such item.
	Stat(ctx context.Context, name string) (Info, error)
}

// Item is what PutAll stores. None is empty: not all object stores take that, and a crash makes such files.
type Item struct {
	Name string
	Data []byte
}

// Info says what is known of an item without reading it.
type Info struct {
	Name    string
	Size    int64
	Used    time.Time // when it was stored or touched last
	Foreign bool      // it is no item of ours, whatever it is
}

// Errors of backends, to be tested with errors.Is.
var (
	// ErrFull marks that the place where objects are kept has no more room.
	ErrFull = errors.New("no room left where files are kept")
	// ErrDamaged marks what is there but not as it was stored.
	ErrDamaged = errors.New("damaged object")
)

// maxNameLen is the length of the longest name of an item.
const maxNameLen = 200

// ValidName tells whether s can be the name of an item: one or two parts with a slash between them, of lower-case
// letters, digits and "-".
func ValidName(s string) bool {
	if s == "" || len(s) > maxNameLen {
		return false
	}
	first, second, two := strings.Cut(s, "/")
	return validPart(first) && (!two || validPart(second))
}

func validPart(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

func checkName(name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%.210q is no name of an item", name)
	}
	return nil
}

func checkItems(items []Item) error {
	for _, it := range items {
		if err := checkName(it.Name); err != nil {
			return err
		}
		if n := len(it.Data); n == 0 || n > MaxItem {
			return fmt.Errorf("item %s of %d bytes: not between 1 and %d", it.Name, n, MaxItem)
		}
	}
	return nil
}

// sized returns buf with length n, or other memory of that length.
func sized(buf []byte, n int) []byte {
	if cap(buf) >= n {
		return buf[:n]
	}
	return make([]byte, n)
}
