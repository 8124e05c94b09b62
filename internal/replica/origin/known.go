package origin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// What a node has been given of directories is kept from one run to the next, so that only changed ones go up again. It may
// be wrong, since a node may forget: then the clone asks.
//
// The file: magic, ids of 32 bytes each, the SHA-256 of all before it.
const (
	knownMagic = "CCNODES1"
	mostKnown  = 1 << 18
)

// knownPath is where it is kept; "": nowhere.
func (f *Files) knownPath() string {
	if f.cfg.Known == "" || f.cfg.Peer == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(f.cfg.Peer))
	return filepath.Join(f.cfg.Known, hex.EncodeToString(sum[:12]))
}

// loadKnown reads what the node has probably been given; what is damaged counts as nothing.
func (f *Files) loadKnown() map[tree.ID]bool {
	known := map[tree.ID]bool{}
	path := f.knownPath()
	if path == "" {
		return known
	}
	const size, sum = len(tree.ID{}), sha256.Size
	info, err := os.Stat(path)
	if err != nil || info.Size() > int64(len(knownMagic)+mostKnown*size+sum) {
		return known
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) < len(knownMagic)+sum || !bytes.HasPrefix(b, []byte(knownMagic)) {
		return known
	}
	body := b[:len(b)-sum]
	if s := sha256.Sum256(body); !bytes.Equal(s[:], b[len(body):]) {
		return known
	}
	for ids := body[len(knownMagic):]; len(ids) >= size; ids = ids[size:] {
		known[tree.ID(ids[:size])] = true
	}
	return known
}

// saveKnown keeps what the last peer has been given of the versions that were pinned last. What was known of directories
// that this run did not use stays, as long as there is room.
func (f *Files) saveKnown() error {
	path := f.knownPath()
	if path == "" || f.last == nil || !f.last.grown {
		return nil
	}
	b := []byte(knownMagic)
	n := 0
	for id := range f.last.known {
		if n++; n > mostKnown {
			break
		}
		b = append(b, id[:]...)
	}
	s := sha256.Sum256(b)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, append(b, s[:]...), 0o600)
}
