// Package replica is what device and clone share of the files that follow a process: the messages, and the System that
// serves file calls over pinned versions of the device's directories. Packages origin (device) and mirror (clone) are the
// two ends.
//
// # Messages
//
// They travel in wire.Files. Numbers are unsigned varints unless said otherwise, strings and bytes follow their length.
//
//	Start   version 1; handles; now; number of mounts; for each
//	          index, dev, flags (1 read-only, 2 numbers begin anew, 4 cold), last number,
//	          root entry (bytes, package tree), numbers, open files
//	        numbers: how many; for each: ino, virtual
//	        open files: how many; for each: handle, ino, virtual, path, kind, type, rights, inheriting, preopen,
//	          0, or 1 and a listing: how many; for each: name, ino, type
//	Want    records: kind u8 (1 object, 2 content), mount, ino, offset, length of the object (0: not known) or of the contents
//	          to send along, id (32 bytes, only of an object)
//	Give    records: kind u8, and
//	          1 object:  id (32 bytes), bytes
//	          2 content: mount, ino, how many objects of it follow, list (bytes, package tree)
//	          3 lack:    mount, ino, id (32 bytes, zero: content), text
//	Packed  length of a Give, and the next part of one zstd stream through the conversation (window 2 MiB)
//	Back    version 1; number of mounts; for each: index, last number, delta (bytes, package tree; empty: none), numbers, open files
//	Data    records: id (32 bytes), bytes
//	Have    ids, 32 bytes each
//	Miss    bytes: bit i (from the lowest of the first byte on) says that id i of the Have is missing
//	Kept    empty
//	Check   of the device: flags u8 (1 all contents are read). Of the node: state u8 (0 under way, 1 done, 2 failed), then objects,
//	          bytes, read, roots, reached, damaged, removed, malformed, foreign, missing, text (only of 2)
package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/clonecloud/clonecloud/internal/tree"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// ErrMalformed marks bytes that are no message of this package.
var ErrMalformed = errors.New("malformed message about files")

const formatVersion = 1

// Limits of a message.
const (
	MaxMounts  = 1 << 10
	MaxListing = 1 << 24
	// MaxGive is about how many bytes go into one Give or Data: nobody can use a part of one before all of it has come.
	MaxGive = 64 << 10
	// MaxObject bounds an object that travels; larger ones stay.
	MaxObject = 6 << 20
)

// Start says on which versions of which mounts an attempt works.
type Start struct {
	Handles uint64 // those that the clone issues follow this number
	Now     uint64 // the time that changes get, at least
	Mounts  []Mount
}

// Mount is a replicated directory at the beginning of an attempt.
type Mount struct {
	Index    uint32 // the device's number of it
	Dev      uint64 // what the guest knows its device by
	ReadOnly bool
	Root     tree.Entry
	// Fresh says that Numbers are all there are, and not what came since the last Start of the conversation.
	Fresh bool
	// Cold says that the node has been given nothing of the directory, as far as the device knows.
	Cold    bool
	Last    uint64
	Numbers []local.Number
	Open    []Open
}

// Open is an open file or directory.
type Open struct {
	Issued  wasi.FD
	Ino     uint64
	Virtual uint64
	Path    string // in the version; of a Back: not used
	Listing []wasi.Dirent
}

// Back says what became of the mounts.
type Back struct{ Mounts []BackMount }

// BackMount is what became of one mount.
type BackMount struct {
	Index   uint32
	Last    uint64
	Delta   []byte // nil: its files are as they were
	Numbers []local.Number
	// Open are the files that were opened and still are, and those opened before whose listing changed.
	Open []Open
}

// reader takes a message apart; after the first fault all values are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
}

func (r *reader) uint(what string, most uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.fail(what)
		return 0
	}
	r.b = r.b[n:]
	return v
}

const anyUint = 1<<64 - 1

// count reads how many things follow, each of at least size bytes.
func (r *reader) count(what string, size int) int {
	n := r.uint(what, uint64(len(r.b)/size))
	return int(n)
}

func (r *reader) bytes(what string, most uint64) []byte {
	n := r.uint(what, min(most, uint64(len(r.b))))
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail(what)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) id(what string) (id tree.ID) {
	if r.err != nil || len(r.b) < len(id) {
		r.fail(what)
		return id
	}
	copy(id[:], r.b)
	r.b = r.b[len(id):]
	return id
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("bytes after the end")
	}
	return r.err
}

func appendUints(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendNumbers(b []byte, list []local.Number) []byte {
	b = appendUints(b, uint64(len(list)))
	for _, n := range list {
		b = appendUints(b, n.Ino, n.Virtual)
	}
	return b
}

func (r *reader) numbers() []local.Number {
	n := r.count("number of inode numbers", 2)
	if n == 0 {
		return nil
	}
	list := make([]local.Number, 0, n)
	for range n {
		list = append(list, local.Number{Ino: r.uint("inode", anyUint), Virtual: r.uint("inode number", 1<<63)})
	}
	return list
}

func appendOpen(b []byte, list []Open) []byte {
	b = appendUints(b, uint64(len(list)))
	for _, o := range list {
		b = appendUints(b, o.Issued.Handle, o.Ino, o.Virtual)
		b = appendBytes(b, o.Path)
		b = appendUints(b, uint64(o.Issued.Kind), uint64(o.Issued.Type), uint64(o.Issued.Base), uint64(o.Issued.Inheriting))
		b = appendBytes(b, o.Issued.Preopen)
		if o.Listing == nil {
			b = append(b, 0)
			continue
		}
		b = appendUints(b, 1, uint64(len(o.Listing)))
		for _, e := range o.Listing {
			b = appendBytes(b, e.Name)
			b = appendUints(b, e.Ino, uint64(e.Type))
		}
	}
	return b
}

func (r *reader) open() []Open {
	var list []Open
	for range r.count("number of open files", 10) {
		o := Open{
			Issued: wasi.FD{Handle: r.uint("handle", anyUint)}, Ino: r.uint("inode", anyUint), Virtual: r.uint("inode number", 1<<63),
			Path: string(r.bytes("path", tree.MaxPath)),
		}
		o.Issued.Kind = wasi.Kind(r.uint("kind", uint64(wasi.KindDir)))
		o.Issued.Type = wasi.FileType(r.uint("file type", uint64(vfs.NumFileTypes)-1))
		o.Issued.Base, o.Issued.Inheriting = wasi.Rights(r.uint("rights", anyUint)), wasi.Rights(r.uint("rights", anyUint))
		o.Issued.Preopen = string(r.bytes("name of a mount", wasi.MaxPath))
		if r.uint("listing", 1) == 1 {
			n := r.count("entries of a listing", 3)
			o.Listing = make([]wasi.Dirent, 0, n)
			for range n {
				o.Listing = append(o.Listing, wasi.Dirent{
					Name: string(r.bytes("name", tree.MaxName)), Ino: r.uint("inode number", anyUint), Type: wasi.FileType(r.uint("file type", uint64(vfs.NumFileTypes)-1)),
				})
			}
		}
		list = append(list, o)
		if r.err != nil {
			return nil
		}
	}
	return list
}

// AppendTo appends the encoded message.
func (s *Start) AppendTo(b []byte) []byte {
	b = appendUints(append(b, formatVersion), s.Handles, s.Now, uint64(len(s.Mounts)))
	for i := range s.Mounts {
		m := &s.Mounts[i]
		flags := uint64(0)
		if m.ReadOnly {
			flags |= 1
		}
		if m.Fresh {
			flags |= 2
		}
		if m.Cold {
			flags |= 4
		}
		b = appendUints(b, uint64(m.Index), m.Dev, flags, m.Last)
		b = appendBytes(b, m.Root.AppendTo(nil))
		b = appendOpen(appendNumbers(b, m.Numbers), m.Open)
	}
	return b
}

// DecodeStart reads a Start.
func DecodeStart(b []byte) (*Start, error) {
	r := reader{b: b}
	r.uint("version", formatVersion)
	s := &Start{Handles: r.uint("handles", 1<<63), Now: r.uint("time", 1<<63)}
	for range min(r.count("number of mounts", 8), MaxMounts) {
		m := Mount{Index: uint32(r.uint("mount", MaxMounts)), Dev: r.uint("device", anyUint)}
		flags := r.uint("flags", 7)
		m.ReadOnly, m.Fresh, m.Cold = flags&1 != 0, flags&2 != 0, flags&4 != 0
		m.Last = r.uint("last number", 1<<63)
		root, err := tree.DecodeEntry(r.bytes("root", 1<<16))
		if err != nil && r.err == nil {
			return nil, fmt.Errorf("%w: root: %w", ErrMalformed, err)
		}
		m.Root, m.Numbers, m.Open = root, r.numbers(), r.open()
		if r.err == nil && root.Kind != tree.KindDir {
			r.fail("root is no directory")
		}
		s.Mounts = append(s.Mounts, m)
	}
	return s, r.end()
}

// AppendTo appends the encoded message.
func (m *Back) AppendTo(b []byte) []byte {
	b = appendUints(append(b, formatVersion), uint64(len(m.Mounts)))
	for i := range m.Mounts {
		x := &m.Mounts[i]
		b = appendUints(b, uint64(x.Index), x.Last)
		b = appendBytes(b, x.Delta)
		b = appendOpen(appendNumbers(b, x.Numbers), x.Open)
	}
	return b
}

// DecodeBack reads a Back. Whether it may be believed is another matter.
func DecodeBack(b []byte) (*Back, error) {
	r := reader{b: b}
	r.uint("version", formatVersion)
	m := &Back{}
	for range min(r.count("number of mounts", 5), MaxMounts) {
		x := BackMount{Index: uint32(r.uint("mount", MaxMounts)), Last: r.uint("last number", 1<<63)}
		if d := r.bytes("delta", anyUint); len(d) > 0 {
			x.Delta = d
		}
		x.Numbers, x.Open = r.numbers(), r.open()
		m.Mounts = append(m.Mounts, x)
	}
	return m, r.end()
}

// Want is what a clone lacks.
type Want struct {
	Mount uint32
	Ino   uint64  // the file, or the directory whose node it is
	ID    tree.ID // of an object; zero: the contents of a file that has not been hashed
	Off   uint64  // where the object begins in its file
	Size  uint64  // of the object, 0: not known (a node, a list); else bytes of contents to send along
}

const (
	recordObject = 1 + iota
	recordContent
	recordLack
)

// AppendTo appends the encoded record.
func (w *Want) AppendTo(b []byte) []byte {
	if w.ID == (tree.ID{}) {
		return appendUints(append(b, recordContent), uint64(w.Mount), w.Ino, w.Off, w.Size)
	}
	b = appendUints(append(b, recordObject), uint64(w.Mount), w.Ino, w.Off, w.Size)
	return append(b, w.ID[:]...)
}

// DecodeWants reads the records of a Want message.
func DecodeWants(b []byte) ([]Want, error) {
	r := reader{b: b}
	var list []Want
	for len(r.b) > 0 && r.err == nil {
		kind := r.b[0]
		r.b = r.b[1:]
		w := Want{Mount: uint32(r.uint("mount", MaxMounts)), Ino: r.uint("inode", anyUint), Off: r.uint("offset", tree.MaxFile), Size: r.uint("size", tree.MaxFile)}
		switch kind {
		case recordObject:
			if w.ID = r.id("id"); r.err == nil && w.ID == (tree.ID{}) {
				r.fail("id of zeros")
			}
		case recordContent:
		default:
			r.fail("kind of a record")
		}
		list = append(list, w)
	}
	return list, r.end()
}

// Give is a record of what a device gives.
type Give struct {
	Object tree.Object // Data not nil: it is one
	// Of the contents of a file, or of what is lacking:
	Mount  uint32
	Ino    uint64
	List   []byte // encoded list of chunks
	Follow int    // objects of it that follow
	Lack   string // why it cannot be had; ID names the object, zero: the contents
	ID     tree.ID
}

// AppendObject appends an object as a record of Give.
func AppendObject(b []byte, o tree.Object) []byte {
	b = append(append(b, recordObject), o.ID[:]...)
	return appendBytes(b, o.Data)
}

// AppendContent appends the list of a file's chunks as a record of Give.
func AppendContent(b []byte, mount uint32, ino uint64, follow int, list []byte) []byte {
	b = appendUints(append(b, recordContent), uint64(mount), ino, uint64(follow))
	return appendBytes(b, list)
}

// AppendLack appends the word that something cannot be had.
func AppendLack(b []byte, w *Want, why string) []byte {
	b = appendUints(append(b, recordLack), uint64(w.Mount), w.Ino)
	b = append(b, w.ID[:]...)
	return appendBytes(b, why[:min(len(why), maxText)])
}

const maxText = 1000

// DecodeGive reads the records of a Give message. Objects are slices of b, and not verified.
func DecodeGive(b []byte) ([]Give, error) {
	r := reader{b: b}
	var list []Give
	for len(r.b) > 0 && r.err == nil {
		kind := r.b[0]
		r.b = r.b[1:]
		var g Give
		switch kind {
		case recordObject:
			g.Object.ID = r.id("id")
			g.Object.Data = r.bytes("object", MaxObject)
		case recordContent:
			g.Mount, g.Ino = uint32(r.uint("mount", MaxMounts)), r.uint("inode", anyUint)
			g.Follow = int(r.uint("objects", tree.MaxList))
			if g.List = r.bytes("list", MaxObject); g.List == nil {
				r.fail("list")
			}
		case recordLack:
			g.Mount, g.Ino, g.ID = uint32(r.uint("mount", MaxMounts)), r.uint("inode", anyUint), r.id("id")
			if g.Lack = string(r.bytes("text", maxText)); g.Lack == "" {
				g.Lack = "it cannot be had"
			}
		default:
			r.fail("kind of a record")
		}
		list = append(list, g)
	}
	return list, r.end()
}

// AppendData appends a chunk as a record of Data.
func AppendData(b []byte, o tree.Object) []byte {
	return appendBytes(append(b, o.ID[:]...), o.Data)
}

// DecodeData reads the records of a Data message. Objects are slices of b, and not verified.
func DecodeData(b []byte) ([]tree.Object, error) {
	r := reader{b: b}
	var list []tree.Object
	for len(r.b) > 0 && r.err == nil {
		o := tree.Object{ID: r.id("id")}
		o.Data = r.bytes("object", MaxObject)
		list = append(list, o)
	}
	return list, r.end()
}
