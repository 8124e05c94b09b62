// Package tree is the image of a directory tree: directories as Merkle nodes, contents of files as chunks, and what
// changed between two of them. It knows formats only: neither file systems nor networks.
//
// Every encoding is the only one of what it says, so that equal things have equal ids: lists are sorted, and a number
// (uvarint, that of encoding/binary) takes the fewest bytes. u8 is a byte, u64 is little-endian, a string is a uvarint
// length and its bytes, an id is 32 bytes. Each encoding begins with a u8 version, now 1.
//
// A node is an object. That of a directory of at most 512 entries is one leaf; a larger directory is cut into leaves
// before names that a hash of the name chooses, so that a change concerns one leaf, and an index lists them.
//
//	leaf        version, u8 1, uvarint number of entries, the entries by name
//	index       version, u8 2, uvarint number of leaves (at least 2), for each the string of its first name, the
//	            uvarint number of its entries (1 to 1024) and its id
//	list        version, u8 3, uvarint number of chunks, the chunks
//
//	entry       string name, u8 kind, u8 flags, uvarint mode, number, links, size, u64 mtime, u64 ctime, and
//	  file      with the flag hashed: u8 number of chunks and the chunks, or u8 255 and the id of the list
//	  directory id of its node
//	  link      string target
//	  other     u8 type
//	chunk       uvarint size, u8 0 of a hole, or u8 1 and its id
//
// An entry alone (a root) is a version and the entry. A delta is
//
//	version
//	bases       uvarint number; for each uvarint ino, string path
//	directories uvarint number; for each uvarint ino, uvarint number of names; for each string name, uvarint ino
//	files       uvarint number; for each uvarint ino, u8 kind, u64 mtime, u64 atime, u8 written, and
//	            of a new link: string target; if written: uvarint size, uvarint number of pieces, the pieces
//	piece       uvarint size, u8 0 of a hole, u8 1 and id of a chunk, or u8 2 of what is kept
package tree

import (
	"crypto/sha256"
	"encoding/hex"
)

// ID is the SHA-256 of an object's bytes: of a chunk, a node of a directory, or a list of chunks.
type ID [sha256.Size]byte

// IDOf returns the id of an object.
func IDOf(b []byte) ID { return sha256.Sum256(b) }

func (id ID) String() string { return hex.EncodeToString(id[:8]) }

// Object is a piece of data with its id.
type Object struct {
	ID   ID
	Data []byte
}

// Limits of what is described here. What is larger stays on the device.
const (
	MaxName   = 255      // bytes of a name
	MaxTarget = 4096     // bytes of a symbolic link's target
	MaxPath   = 64 << 10 // bytes of a path inside a tree
	MaxChunk  = 1 << 20  // bytes of a chunk that is not a hole
	MaxInline = 8        // chunks that an Entry holds itself
	MaxList   = 1 << 19  // chunks of a file
	MaxObject = 24 << 20 // bytes of an encoded node or list
	MaxFile   = 1 << 62  // bytes of a file
)

// Kind tells what an entry is.
type Kind uint8

// The kinds of entries.
const (
	KindInvalid Kind = iota
	KindFile         // regular
	KindDir
	KindSymlink
	KindOther // device, pipe, socket; nothing but its place is described
	numKinds
)

// Flags of an entry.
type Flags uint8

// The flags. Readable, Writable and Searchable say what the device's user may do with it.
const (
	Readable Flags = 1 << iota
	Writable
	Searchable
	// Apart marks what a clone must leave alone: a directory on another file system, a file too large to be described.
	// Using it needs the device.
	Apart
	// Shared marks a file that has names outside its tree too. It can be read; changing it needs the device.
	Shared
	// Hashed says that Chunks or List are known. They are of no file whose contents nobody has asked for yet.
	Hashed
	allFlags = Readable | Writable | Searchable | Apart | Shared | Hashed
)

// Entry is one name of a directory with what it stands for. The root of a tree has an empty name. Times are
// nanoseconds since 1970.
type Entry struct {
	Name   string // any bytes but "/" and NUL; never "." or ".."
	Kind   Kind
	Type   uint8 // of KindOther: WASI's file type
	Flags  Flags
	Mode   uint32 // permission bits
	Ino    uint64 // equal for two names of one file, and for no two files of the tree; below FirstNew
	Nlink  uint32
	Size   uint64
	Mtime  uint64
	Ctime  uint64
	Target string  // of KindSymlink
	Chunks []Chunk // of a file with Hashed, if there are at most MaxInline; their sizes add up to Size
	List   ID      // else: the encoded list of its chunks
	Dir    ID      // of KindDir: its node
}

// FirstNew is the first number of files that a clone made: numbers from here on are no inode numbers of a device.
const FirstNew = 1 << 62

// Chunk is a piece of a file's contents. A zero ID is a hole of Size zeros, of any length.
type Chunk struct {
	ID   ID
	Size uint64
}

// Hole tells whether the chunk is a run of zeros that is not stored.
func (c Chunk) Hole() bool { return c.ID == ID{} }

// Delta is what a clone did to a tree, as the difference between two states of it. All lists are ascending.
type Delta struct {
	// Bases name each file of the first state that the rest mentions by its number: a path that it had then.
	Bases []Base
	// Dirs are the directories in which names came, went, or now stand for something else.
	Dirs []DirChange
	// Files are those that are new, and those whose contents or times changed.
	Files []FileChange
}

// Base says where a file stood in the first state.
type Base struct {
	Ino  uint64
	Path string // slash-separated, "" is the root
}

// DirChange is what became of the names in one directory. A directory that is gone has all its names removed.
type DirChange struct {
	Ino   uint64
	Names []NameChange // by name
}

// NameChange is what a name stands for now. Ino 0: it is gone.
type NameChange struct {
	Name string
	Ino  uint64
}

// FileChange is a file that is new, or one of the first state whose contents or times changed. One that is new and has
// no name is still open.
type FileChange struct {
	Ino          uint64
	Kind         Kind   // KindFile, KindDir or KindSymlink
	Target       string // of a new KindSymlink
	Mtime, Atime uint64 // 0: as they come
	// Written says that Size and Pieces hold. It is set of every new file of KindFile.
	Written bool
	Size    uint64
	Pieces  []Piece // in order, without gaps, up to Size
}

// Piece is a run of a changed file's bytes. With Kept they are those that the same file had at the same place in the
// first state; else Chunk says what they are.
type Piece struct {
	Kept  bool
	Size  uint64
	Chunk ID // zero: a hole
}
