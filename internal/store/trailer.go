package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	trailerMagic   = "CCLDMAPD"
	trailerVersion = 1
	trailerSize    = trailerMACAt + 32
	trailerMACAt   = 8 + 4 + 8 + 3*32
	// macChunk is how much of the code has a tag: it is still in the processor's cache when it is copied.
	macChunk = 256 << 10
)

// errUntrusted marks a file that is to be removed.
var errUntrusted = errors.New("not code that this node has kept")

// trailer is the end of a file of code that is mapped.
type trailer struct {
	length   int64 // of the code
	id, meta [32]byte
	salt     [32]byte
	mac      [32]byte
}

// parseTrailer decodes a trailer. Only sum tells whether it is true.
func parseTrailer(b []byte) (*trailer, error) {
	if len(b) != trailerSize || string(b[:8]) != trailerMagic {
		return nil, fmt.Errorf("%w: no trailer", errUntrusted)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != trailerVersion {
		return nil, fmt.Errorf("%w: version %d, not %d", errUntrusted, v, trailerVersion)
	}
	length := binary.LittleEndian.Uint64(b[12:])
	if length == 0 || length > MaxFile-trailerSize {
		return nil, fmt.Errorf("%w: %d bytes of code", errUntrusted, length)
	}
	t := &trailer{length: int64(length)}
	b = b[20:]
	for _, field := range []*[32]byte{&t.id, &t.meta, &t.salt, &t.mac} {
		b = b[copy(field[:], b):]
	}
	return t, nil
}

func (t *trailer) encode() []byte {
	b := make([]byte, 0, trailerSize)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint32(b, trailerVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.length))
	for _, field := range []*[32]byte{&t.id, &t.meta, &t.salt, &t.mac} {
		b = append(b, field[:]...)
	}
	return b
}

// renew takes a salt that was never used.
func (t *trailer) renew() {
	_, _ = rand.Read(t.salt[:]) // never fails
}

// verify checks code against the MAC, and writes it to into as it goes, unless that is nil: what is there after an error
// is not verified.
func (t *trailer) verify(key [32]byte, code io.ReaderAt, into io.Writer) error {
	sum, err := t.sum(key, code, into)
	if err == nil && !hmac.Equal(sum[:], t.mac[:]) {
		err = fmt.Errorf("%w: wrong MAC", errUntrusted)
	}
	return err
}

// sum returns the MAC that belongs to the code, and writes the code to into, unless that is nil.
func (t *trailer) sum(key [32]byte, code io.ReaderAt, into io.Writer) (mac [32]byte, err error) {
	keys, err := hkdf.Key(sha256.New, key[:], t.salt[:], "clonecloud: compiled code that is mapped", 64)
	if err != nil {
		return mac, fmt.Errorf("derive keys: %w", err)
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return mac, fmt.Errorf("make cipher: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return mac, fmt.Errorf("make cipher: %w", err)
	}
	h := hmac.New(sha256.New, keys[32:])
	h.Write(t.encode()[:trailerMACAt])
	buf := make([]byte, min(macChunk, t.length))
	nonce := make([]byte, gcm.NonceSize())
	var tag []byte
	for at := int64(0); at < t.length; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), t.length-at)]
		if n, err := code.ReadAt(buf, at); n < len(buf) {
			if errors.Is(err, io.EOF) {
				return mac, fmt.Errorf("%w: it shrank", errUntrusted)
			}
			return mac, fmt.Errorf("read at %d: %w", at, err)
		}
		binary.BigEndian.PutUint64(nonce[len(nonce)-8:], uint64(at))
		tag = gcm.Seal(tag[:0], nonce, nil, buf)
		h.Write(tag)
		if into != nil {
			if _, err := into.Write(buf); err != nil {
				return mac, fmt.Errorf("copy: %w", err)
			}
		}
	}
	return [32]byte(h.Sum(nil)), nil
}
