package chunkstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Forms of what is stored: its first byte.
const (
	formClear  = 1
	formSealed = 2
)

const (
	formatName  = "format"
	rootPrefix  = "root/"
	formatBytes = 1 + sha256.Size
	nonceSize   = 12
	tagSize     = 16
	minKey      = 16
	maxRootName = 1 << 10 // bytes of what a root is called
)

// name is what an object is stored under: its id, or a hash of that under the tenant's key.
type name [sha256.Size]byte

func (n name) item() string {
	var b [3 + 2*len(n)]byte
	hex.Encode(b[3:], n[:])
	b[0], b[1], b[2] = b[3], b[4], '/'
	return string(b[:])
}

// parseName reads the name of an item that is an object.
func parseName(item string) (n name, ok bool) {
	first, rest, two := strings.Cut(item, "/")
	if !two || len(first) != 2 || len(rest) != hex.EncodedLen(len(n)) || rest[:2] != first {
		return n, false
	}
	if _, err := hex.Decode(n[:], []byte(rest)); err != nil {
		return n, false
	}
	return n, n.item() == item // upper-case digits are not ours
}

// secrets turn ids into names and contents into items. The zero value leaves both in the clear.
type secrets struct {
	objects, roots cipher.AEAD
	macs           *sync.Pool // of hash.Hash
}

func newSecrets(key []byte) (secrets, error) {
	if key == nil {
		return secrets{}, nil
	}
	if len(key) < minKey {
		return secrets{}, fmt.Errorf("key of %d bytes: fewer than %d", len(key), minKey)
	}
	var s secrets
	names, err := hkdf.Key(sha256.New, key, nil, "clonecloud chunkstore names", 32)
	if err != nil {
		return s, err
	}
	s.macs = &sync.Pool{New: func() any { return hmac.New(sha256.New, names) }}
	if s.objects, err = newAEAD(key, "objects"); err != nil {
		return s, err
	}
	s.roots, err = newAEAD(key, "roots")
	return s, err
}

func newAEAD(key []byte, what string) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key, nil, "clonecloud chunkstore "+what, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// mac hashes under the key, if there is one.
func (s *secrets) mac(b []byte) (n name) {
	if s.macs == nil {
		return sha256.Sum256(b)
	}
	h := s.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(b)
	h.Sum(n[:0])
	s.macs.Put(h)
	return n
}

func (s *secrets) name(id tree.ID) name {
	if s.macs == nil {
		return name(id)
	}
	return s.mac(id[:])
}

// rootItem is the name of the item that holds a root. What is hashed is no id: those are shorter.
func (s *secrets) rootItem(root string) string {
	n := s.mac([]byte("the name of a pinned root of a tree: " + root))
	return rootPrefix + hex.EncodeToString(n[:])
}

// format is the item that tells whose store it is.
func (s *secrets) format() []byte {
	n := s.mac([]byte("the format of a store of chunks, version 1"))
	return append([]byte{formClear}, n[:]...)
}

// seal appends an object's item to b. The nonce is the beginning of its name: for one key, a name goes with one id and
// an id with one content, which Put has checked, so that equal nonces mean equal input; that two of 2^32 names begin
// alike has a chance of 2^-33, that of random nonces.
func (s *secrets) seal(b []byte, n name, data []byte) []byte {
	if s.objects == nil {
		return append(append(b, formClear), data...)
	}
	return s.objects.Seal(append(b, formSealed), n[:nonceSize], data, n[:])
}

// sealedSize is the length of an item of an object of so many bytes.
func (s *secrets) sealedSize(n int) int {
	if s.objects == nil {
		return 1 + n
	}
	return 1 + n + tagSize
}

// open returns the content of an object's item, in the same memory.
func (s *secrets) open(n name, item []byte) ([]byte, error) {
	if s.objects == nil {
		if len(item) < 1 || item[0] != formClear || sha256.Sum256(item[1:]) != n {
			return nil, ErrDamaged
		}
		return item[1:], nil
	}
	if len(item) < 1 || item[0] != formSealed {
		return nil, ErrDamaged
	}
	b, err := s.objects.Open(item[1:1], n[:nonceSize], item[1:], n[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, nil
}

// root is a pinned root of a tree.
type root struct {
	name string
	id   tree.ID
}

// sealRoot returns the item of a root. Its content changes under one name, so the nonce is random.
func (s *secrets) sealRoot(r root) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(r.name)))
	b = append(append(b, r.name...), r.id[:]...)
	if s.roots == nil {
		sum := sha256.Sum256(b)
		return append(append([]byte{formClear}, b...), sum[:]...)
	}
	out := make([]byte, 1+nonceSize, 1+nonceSize+len(b)+tagSize)
	out[0] = formSealed
	if _, err := rand.Read(out[1:]); err != nil {
		panic("BUG: crypto/rand never fails: " + err.Error())
	}
	return s.roots.Seal(out, out[1:], b, []byte(s.rootItem(r.name)))
}

// openRoot reads the item of a root.
func (s *secrets) openRoot(item string, b []byte) (root, error) {
	b, err := s.openRootForm(item, b)
	if err != nil {
		return root{}, err
	}
	if len(b) < 2 || len(b) != 2+int(binary.LittleEndian.Uint16(b))+len(tree.ID{}) {
		return root{}, ErrDamaged
	}
	at := len(b) - len(tree.ID{})
	r := root{name: string(b[2:at]), id: tree.ID(b[at:])}
	if s.rootItem(r.name) != item {
		return root{}, fmt.Errorf("%w: another root's", ErrDamaged)
	}
	return r, nil
}

func (s *secrets) openRootForm(item string, b []byte) ([]byte, error) {
	if s.roots == nil {
		at := len(b) - sha256.Size
		if at < 1 || b[0] != formClear || sha256.Sum256(b[1:at]) != [sha256.Size]byte(b[at:]) {
			return nil, ErrDamaged
		}
		return b[1:at], nil
	}
	if len(b) < 1+nonceSize || b[0] != formSealed {
		return nil, ErrDamaged
	}
	out, err := s.roots.Open(nil, b[1:1+nonceSize], b[1+nonceSize:], []byte(item))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return out, nil
}
