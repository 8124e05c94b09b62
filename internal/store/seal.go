package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

const (
	magic      = "CCLDCODE"
	version    = 1
	macAt      = 48
	filesAt    = 80
	maxFiles   = 1024
	maxName    = 255
	perFile    = 2 + 8
	sealedFile = "sealed file"
)

// file is one of those in a sealed file.
type file struct {
	name string // relative, with slashes
	data []byte
}

// seal encodes files.
func seal(key, id [32]byte, files []file) ([]byte, error) {
	if len(files) == 0 || len(files) > maxFiles {
		return nil, fmt.Errorf("%s: %d files, not 1 to %d", sealedFile, len(files), maxFiles)
	}
	size := filesAt
	names := map[string]bool{}
	for _, f := range files {
		if err := checkName(f.name); err != nil {
			return nil, err
		}
		if names[f.name] {
			return nil, fmt.Errorf("%s: %q twice", sealedFile, f.name)
		}
		names[f.name] = true
		if size += perFile + len(f.name) + len(f.data); size > MaxFile {
			return nil, fmt.Errorf("%s: more than %d bytes", sealedFile, MaxFile)
		}
	}
	b := make([]byte, 0, size)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(files)))
	b = append(b, id[:]...)
	b = append(b, make([]byte, filesAt-macAt)...)
	for _, f := range files {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(f.name)))
		b = append(b, f.name...)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(f.data)))
		b = append(b, f.data...)
	}
	copy(b[macAt:], mac(key, b))
	return b, nil
}

// unseal decodes what seal encoded under the same key and id. The files' data are parts of b.
func unseal(b []byte, key, id [32]byte) ([]file, error) {
	switch {
	case len(b) < filesAt:
		return nil, fmt.Errorf("%s: ends in its header", sealedFile)
	case string(b[:8]) != magic:
		return nil, fmt.Errorf("%s: wrong magic", sealedFile)
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return nil, fmt.Errorf("%s: version %d, not %d", sealedFile, binary.LittleEndian.Uint32(b[8:]), version)
	case [32]byte(b[16:macAt]) != id:
		return nil, fmt.Errorf("%s: of another module", sealedFile)
	case !hmac.Equal(b[macAt:filesAt], mac(key, b)):
		return nil, fmt.Errorf("%s: wrong MAC", sealedFile)
	}
	return parseFiles(b[filesAt:], binary.LittleEndian.Uint32(b[12:]))
}

// parseFiles decodes what is behind the header. It trusts nothing although the MAC was right: the key is one bound
// among several.
func parseFiles(b []byte, count uint32) ([]file, error) {
	if count == 0 || count > maxFiles {
		return nil, fmt.Errorf("%s: %d files, not 1 to %d", sealedFile, count, maxFiles)
	}
	files := make([]file, 0, count)
	names := map[string]bool{}
	for range count {
		if len(b) < 2 {
			return nil, errTruncated
		}
		n := int(binary.LittleEndian.Uint16(b))
		if b = b[2:]; len(b) < n+8 {
			return nil, errTruncated
		}
		name := string(b[:n])
		if err := checkName(name); err != nil {
			return nil, err
		}
		if names[name] {
			return nil, fmt.Errorf("%s: %q twice", sealedFile, name)
		}
		names[name] = true
		size := binary.LittleEndian.Uint64(b[n:])
		if b = b[n+8:]; size > uint64(len(b)) {
			return nil, errTruncated
		}
		files = append(files, file{name, b[:size:size]})
		b = b[size:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%s: %d bytes behind the last file", sealedFile, len(b))
	}
	return files, nil
}

var errTruncated = errors.New(sealedFile + ": ends early")

// mac returns the MAC of all of b but the place of the MAC.
func mac(key [32]byte, b []byte) []byte {
	m := hmac.New(sha256.New, key[:])
	m.Write(b[:macAt])
	m.Write(b[filesAt:])
	return m.Sum(nil)
}

// checkName wants a name that stays within its folder on every system.
func checkName(name string) error {
	if len(name) == 0 || len(name) > maxName || name == "." || !fs.ValidPath(name) || !filepath.IsLocal(name) ||
		strings.ContainsAny(name, "\\:\x00") {
		return fmt.Errorf("%s: bad name %.80q", sealedFile, name)
	}
	return nil
}
