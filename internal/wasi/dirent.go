package wasi

import (
	"encoding/binary"
	"math"
)

// Dirent is an entry of a directory in an answer to OpReadDir: inode (8 bytes), type (1), length of the name (2),
// name.
type Dirent struct {
	Name string
	Ino  uint64
	Type FileType
}

// DirentSize is what an entry takes in a guest's buffer besides its name.
const DirentSize = 24

// AppendDirent encodes an entry.
func AppendDirent(b []byte, e Dirent) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.Ino)
	b = append(b, byte(e.Type))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(len(e.Name), math.MaxUint16)))
	return append(b, e.Name...)
}

// parseDirent takes the first entry off b.
func parseDirent(b []byte) (e Dirent, rest []byte, ok bool) {
	if len(b) < 11 {
		return e, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[9:]))
	if len(b) < 11+n {
		return e, nil, false
	}
	return Dirent{string(b[11 : 11+n]), binary.LittleEndian.Uint64(b), FileType(b[8])}, b[11+n:], true
}
