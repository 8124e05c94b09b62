package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	pieceHole = iota
	pieceChunk
	pieceKept
)

// maxIno bounds numbers of files, those that a clone gave included.
const maxIno = 1<<63 - 1

// AppendTo appends the encoding of a delta.
func (d *Delta) AppendTo(b []byte) []byte {
	b = binary.AppendUvarint(append(b, version), uint64(len(d.Bases)))
	for i := range d.Bases {
		b = binary.AppendUvarint(b, d.Bases[i].Ino)
		b = appendString(b, d.Bases[i].Path)
	}
	b = binary.AppendUvarint(b, uint64(len(d.Dirs)))
	for i := range d.Dirs {
		b = binary.AppendUvarint(b, d.Dirs[i].Ino)
		b = binary.AppendUvarint(b, uint64(len(d.Dirs[i].Names)))
		for _, n := range d.Dirs[i].Names {
			b = binary.AppendUvarint(appendString(b, n.Name), n.Ino)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(d.Files)))
	for i := range d.Files {
		b = d.Files[i].append(b)
	}
	return b
}

func (f *FileChange) append(b []byte) []byte {
	b = binary.AppendUvarint(b, f.Ino)
	b = append(b, byte(f.Kind))
	b = binary.LittleEndian.AppendUint64(b, f.Mtime)
	b = binary.LittleEndian.AppendUint64(b, f.Atime)
	written := byte(0)
	if f.Written {
		written = 1
	}
	b = append(b, written)
	if f.Ino >= FirstNew && f.Kind == KindSymlink {
		b = appendString(b, f.Target)
	}
	if !f.Written {
		return b
	}
	b = binary.AppendUvarint(b, f.Size)
	b = binary.AppendUvarint(b, uint64(len(f.Pieces)))
	for _, p := range f.Pieces {
		b = binary.AppendUvarint(b, p.Size)
		switch {
		case p.Kept:
			b = append(b, pieceKept)
		case p.Chunk == ID{}:
			b = append(b, pieceHole)
		default:
			b = append(append(b, pieceChunk), p.Chunk[:]...)
		}
	}
	return b
}

// DecodeDelta reads a delta and validates it.
func DecodeDelta(b []byte) (*Delta, error) {
	r := &reader{text: string(b)}
	r.version(0)
	d := &Delta{}
	// A list grows by what was read of it: a count alone makes no memory.
	for range r.count("bases", 2) {
		x := Base{Ino: r.uint("number of a base", FirstNew-1), Path: r.string("path", MaxPath)}
		if r.err != nil {
			break
		}
		d.Bases = append(d.Bases, x)
	}
	for range r.count("directories", 5) {
		x := r.dirChange()
		if r.err != nil {
			break
		}
		d.Dirs = append(d.Dirs, x)
	}
	for range r.count("files", 19) {
		x := r.fileChange()
		if r.err != nil {
			break
		}
		d.Files = append(d.Files, x)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("read delta: %w", err)
	}
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("read delta: %w", err)
	}
	return d, nil
}

func (r *reader) dirChange() DirChange {
	d := DirChange{Ino: r.uint("number of a directory", maxIno)}
	for range r.count("names", 3) {
		n := NameChange{Name: r.string("name", MaxName), Ino: r.uint("number of a name", maxIno)}
		if r.err != nil {
			break
		}
		d.Names = append(d.Names, n)
	}
	return d
}

func (r *reader) fileChange() FileChange {
	f := FileChange{
		Ino:     r.uint("number of a file", maxIno),
		Kind:    Kind(r.u8("kind", uint8(numKinds)-1)),
		Mtime:   r.u64("modification time"),
		Atime:   r.u64("access time"),
		Written: r.u8("mark of contents", 1) == 1,
	}
	if f.Ino >= FirstNew && f.Kind == KindSymlink {
		f.Target = r.string("target", MaxTarget)
	}
	if !f.Written {
		return f
	}
	f.Size = r.uint("size of a file", MaxFile)
	for range r.count("pieces", 2) {
		p := Piece{Size: r.uint("size of a piece", MaxFile)}
		switch r.u8("form of a piece", pieceKept) {
		case pieceKept:
			p.Kept = true
		case pieceChunk:
			p.Chunk = r.id("chunk of a piece")
		}
		if r.err != nil {
			break
		}
		f.Pieces = append(f.Pieces, p)
	}
	return f
}

// Validate checks all that can be said of a delta without the tree that it is about.
func (d *Delta) Validate() error {
	v := validator{bases: make(map[uint64]bool, len(d.Bases)), files: make(map[uint64]Kind, len(d.Files))}
	err := v.fillBases(d.Bases)
	if err == nil {
		err = v.fillFiles(d.Files)
	}
	if err == nil {
		err = v.dirs(d.Dirs)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

type validator struct {
	bases map[uint64]bool
	files map[uint64]Kind
}

func (v *validator) fillBases(bases []Base) error {
	last := uint64(0)
	paths := make(map[string]bool, len(bases))
	for i := range bases {
		b := &bases[i]
		switch {
		case b.Ino <= last || b.Ino >= FirstNew:
			return fmt.Errorf("base %d is out of order", b.Ino)
		case !ValidPath(b.Path) || paths[b.Path]:
			return fmt.Errorf("base %d: path %.200q is none, or another's too", b.Ino, b.Path)
		}
		last, paths[b.Path], v.bases[b.Ino] = b.Ino, true, true
	}
	return nil
}

func (v *validator) fillFiles(files []FileChange) error {
	last := uint64(0)
	for i := range files {
		f := &files[i]
		if f.Ino <= last || f.Ino > maxIno {
			return fmt.Errorf("file %d is out of order", f.Ino)
		}
		last, v.files[f.Ino] = f.Ino, f.Kind
		if err := f.validate(); err != nil {
			return fmt.Errorf("file %d: %w", f.Ino, err)
		}
		if err := v.known(f.Ino); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) dirs(dirs []DirChange) error {
	last := uint64(0)
	for i := range dirs {
		d := &dirs[i]
		if d.Ino <= last || d.Ino > maxIno {
			return fmt.Errorf("directory %d is out of order", d.Ino)
		}
		last = d.Ino
		if err := v.known(d.Ino); err != nil {
			return err
		}
		if kind, changed := v.files[d.Ino]; changed && kind != KindDir {
			return fmt.Errorf("directory %d is of kind %d", d.Ino, kind)
		}
		if err := v.names(d); err != nil {
			return fmt.Errorf("directory %d: %w", d.Ino, err)
		}
	}
	return nil
}

func (v *validator) names(d *DirChange) error {
	if len(d.Names) == 0 {
		return errors.New("no names")
	}
	last := ""
	for i := range d.Names {
		n := &d.Names[i]
		if !ValidName(n.Name) || n.Name <= last {
			return fmt.Errorf("name %q is none, or out of order", n.Name)
		}
		last = n.Name
		if n.Ino == 0 {
			continue
		}
		if err := v.known(n.Ino); err != nil {
			return fmt.Errorf("name %q: %w", n.Name, err)
		}
	}
	return nil
}

// known checks that a number is a base's, or that of a new file.
func (v *validator) known(ino uint64) error {
	if ino < FirstNew {
		if !v.bases[ino] {
			return fmt.Errorf("number %d has no base", ino)
		}
		return nil
	}
	if _, ok := v.files[ino]; !ok {
		return fmt.Errorf("number %d is of no file", ino)
	}
	return nil
}

func (f *FileChange) validate() error {
	isNew := f.Ino >= FirstNew
	switch {
	case f.Kind != KindFile && f.Kind != KindDir && f.Kind != KindSymlink:
		return fmt.Errorf("kind %d", f.Kind)
	case isNew && f.Kind == KindSymlink && !validTarget(f.Target):
		return errors.New("link without a valid target")
	case (!isNew || f.Kind != KindSymlink) && f.Target != "":
		return errors.New("target of what is no new link")
	case f.Written && f.Kind != KindFile, isNew && f.Kind == KindFile && !f.Written:
		return errors.New("contents where there are none, or the reverse")
	case !f.Written && (f.Size != 0 || len(f.Pieces) > 0):
		return errors.New("pieces of what was not written")
	case f.Size > MaxFile:
		return fmt.Errorf("size %d", f.Size)
	}
	sum := uint64(0)
	for _, p := range f.Pieces {
		switch {
		case p.Size == 0 || p.Size > f.Size-sum:
			return fmt.Errorf("pieces do not add up to %d bytes", f.Size)
		case p.Kept && (isNew || p.Chunk != ID{}):
			return errors.New("kept bytes of a new file, or of a chunk")
		case p.Chunk != ID{} && p.Size > MaxChunk:
			return fmt.Errorf("chunk of %d bytes", p.Size)
		}
		sum += p.Size
	}
	if sum != f.Size {
		return fmt.Errorf("pieces of %d bytes in a file of %d", sum, f.Size)
	}
	return nil
}
