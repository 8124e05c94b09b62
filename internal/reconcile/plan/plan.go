// Package plan knows what is to be done to a directory, and how far it is: it checks a tree.Delta against the pinned version and
// makes steps of it, judges names by what stands there, and encodes all that. It opens no file. Package reconcile says what
// the steps mean, and has the layout.
package plan

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/clonecloud/clonecloud/internal/reconcile/disk"
	"github.com/clonecloud/clonecloud/internal/tree"
)

// Stamp is a state of a file, to see whether it is still that.
type Stamp struct {
	Kind                    tree.Kind
	Ino, Size, Mtime, Ctime uint64
}

func stampOf(e *tree.Entry) Stamp { return Stamp{e.Kind, e.Ino, e.Size, e.Mtime, e.Ctime} }

// Same tells whether st is of the same file.
func (s *Stamp) Same(st *disk.Stat) bool { return st.Kind == s.Kind && st.Ino == s.Ino }

// hasContents tells whether anything would be lost with the file.
func (s *Stamp) hasContents() bool { return s.Kind == tree.KindFile || s.Kind == tree.KindSymlink }

// Unchanged looks at what another name leaves as it was.
func (s *Stamp) Unchanged(st *disk.Stat) bool {
	return !s.hasContents() || st.Size == s.Size && st.Mtime == s.Mtime
}

// Intact tells whether st is the file, as it was.
func (s *Stamp) Intact(st *disk.Stat) bool {
	return s.Same(st) && s.Unchanged(st) && st.Ctime == s.Ctime
}

// Steps are what is to be done, in this order: writes; displacements, deepest first; placements, from the top; links;
// removal of what was displaced and has no place; times of directories.
type Steps struct {
	Made      []Made // new files, ready in the staging folder under NewName
	Writes    []Write
	Displaced []Displacement
	Places    []Placement
	Links     []Link
	Times     []DirTimes
}

// Made is a new file.
type Made struct {
	Ino          uint64 // in the delta
	Kind         tree.Kind
	Num          uint64 // the system's number of it
	Named        bool
	Mtime, Atime uint64       // here only until it is staged, as what follows
	Target       string       //
	Size         uint64       //
	Pieces       []tree.Piece //
}

// Write changes contents or times of a file that was there, at the place where it was.
type Write struct {
	Path         string
	Was          Stamp
	Final        string // the path that it will have
	Elsewhere    bool   // it will have another, which is not known
	Nameless     bool   // it will have none
	Written      bool
	Mode         uint32 // permission bits that it had
	Size         uint64
	Pieces       []Piece
	Mtime, Atime uint64
	Chunks       []tree.Chunk // of what was pinned, if known
}

// Piece is a run of bytes: kept, a hole, or from off in the plan's file.
type Piece struct {
	Size  uint64
	Form  uint8
	Off   uint64
	Check tree.ID
}

const (
	FormHole = iota
	FormData
	FormKept
	numForms
)

// Displacement takes a name away: what had it goes to the staging folder under OldName.
type Displacement struct {
	Path string
	Was  Stamp
	// Gone: the changes leave the file no name that they know of, so that it will be removed.
	Gone bool
	// Takes is, of a file that has other names and gets none, how many are taken away. 0: of others.
	Takes uint64
	// Sole: nothing that comes before changes the file's attributes.
	Sole bool
	// Write is the position of the write that changes the file too, -1: none does.
	Write int
}

// Placement gives a name to what stands in the staging folder.
type Placement struct {
	Path string
	From string // name in the staging folder
	Kind tree.Kind
	Made bool // it is new
	Ino  uint64
}

// Link gives another name to a file that has one.
type Link struct {
	Path string
	To   string // a path it has
	Num  uint64 // its number: the system's
	Made int    // position of a new file, whose num it is; -1: none
	Ino  uint64
}

// DirTimes sets times of a directory.
type DirTimes struct {
	Path         string
	Mtime, Atime uint64
}

// NewName is the name of a new file in the staging folder.
func NewName(i int) string { return "n" + strconv.Itoa(i) }

// OldName is the name there of what was displaced.
func OldName(i int) string { return "o" + strconv.Itoa(i) }

// StagingPrefix begins names at the top of a directory that are not of its tree.
const StagingPrefix = ".clonecloud-"

// maxPaths bounds the bytes of all paths of a plan.
const maxPaths = 256 << 20

// planner makes steps of a delta. It knows the pinned version, and neither the directory as it is now nor any file.
type planner struct {
	base   Base
	delta  *tree.Delta
	root   uint64
	old    map[uint64]*oldFile // what the delta mentions, and the directories above
	byPath map[string]uint64   // of directories in old
	new    map[uint64]*tree.FileChange
	taken  map[uint64][]name // names that go, by number
	given  map[uint64][]name // names that come, by number
	final  map[uint64]string // paths of directories at the end
	bytes  int               // of paths
	depth  int
	maxed  uint64
	Steps
}

type oldFile struct {
	path  string
	entry tree.Entry
}

// name is one in a directory. The path is that which it has before: of a name that comes there is none.
type name struct {
	dir  uint64
	name string
	path string
	was  Stamp
	link uint32 // names that its file had
}

// Invalid is an ErrInvalid that says why.
func Invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Make checks a delta and makes steps of it.
func Make(d *tree.Delta, base Base, maxBytes uint64) (*Steps, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p := &planner{
		base: base, delta: d, old: map[uint64]*oldFile{}, byPath: map[string]uint64{}, new: map[uint64]*tree.FileChange{},
		taken: map[uint64][]name{}, given: map[uint64][]name{}, final: map[uint64]string{}, maxed: maxBytes,
	}
	for _, step := range []func() error{p.bases, p.files, p.dirs, p.checkNames, p.checkRemoved, p.paths, p.emit} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &p.Steps, nil
}

func (p *planner) bases() error {
	root, ok := p.base.Lookup("")
	if !ok || root.Kind != tree.KindDir {
		return fmt.Errorf("%w: the pinned version has no root", ErrUnfit)
	}
	p.root = root.Ino
	p.old[root.Ino] = &oldFile{"", root}
	p.byPath[""] = root.Ino
	for i := range p.delta.Bases {
		b := &p.delta.Bases[i]
		e, ok := p.base.Lookup(b.Path)
		switch {
		case !ok:
			return Invalid("%q was not there", b.Path)
		case e.Ino != b.Ino:
			return Invalid("%q had number %d, not %d", b.Path, e.Ino, b.Ino)
		case e.Flags&tree.Apart != 0:
			return Invalid("%q is apart", b.Path)
		}
		if err := p.above(b.Path); err != nil {
			return err
		}
		p.old[e.Ino] = &oldFile{b.Path, e}
		if e.Kind == tree.KindDir {
			p.byPath[b.Path] = e.Ino
		}
	}
	return nil
}

// above makes the directories above a path known.
func (p *planner) above(path string) error {
	for path != "" {
		path, _ = disk.Split(path)
		if _, ok := p.byPath[path]; ok {
			return nil
		}
		e, ok := p.base.Lookup(path)
		if !ok || e.Kind != tree.KindDir {
			return Invalid("%q was no directory", path)
		}
		if _, ok := p.old[e.Ino]; !ok {
			p.old[e.Ino] = &oldFile{path, e}
		}
		p.byPath[path] = e.Ino
	}
	return nil
}

func (p *planner) files() error {
	total := uint64(0)
	for i := range p.delta.Files {
		f := &p.delta.Files[i]
		for _, x := range f.Pieces {
			if x.Chunk == (tree.ID{}) {
				continue
			}
			total += x.Size // at most MaxChunk for each of a list in memory
		}
		if f.Ino >= tree.FirstNew {
			// A guest cannot make a link that is not relative.
			if local := filepath.FromSlash(f.Target); strings.HasPrefix(f.Target, "/") || filepath.IsAbs(local) || filepath.VolumeName(local) != "" {
				return Invalid("new link to %q", f.Target)
			}
			p.new[f.Ino] = f
			continue
		}
		if err := p.oldFile(f); err != nil {
			return err
		}
	}
	if p.maxed > 0 && total > p.maxed {
		return fmt.Errorf("%w: %d bytes are written, at most %d may be", ErrUnfit, total, p.maxed)
	}
	return nil
}

func (p *planner) oldFile(f *tree.FileChange) error {
	o := p.old[f.Ino]
	switch {
	case f.Kind != o.entry.Kind:
		return Invalid("%q is of kind %d, not %d", o.path, o.entry.Kind, f.Kind)
	case o.entry.Flags&tree.Shared != 0:
		return Invalid("%q has names elsewhere", o.path)
	case f.Written && o.entry.Flags&tree.Writable == 0:
		return Invalid("%q cannot be written", o.path)
	}
	at := uint64(0)
	for _, x := range f.Pieces {
		at += x.Size
		if x.Kept && at > o.entry.Size {
			return Invalid("%q keeps bytes up to %d, but had %d", o.path, at, o.entry.Size)
		}
	}
	return nil
}

func (p *planner) dirs() error {
	for i := range p.delta.Dirs {
		d := &p.delta.Dirs[i]
		path, isOld := "", false
		if o, ok := p.old[d.Ino]; ok {
			const need = tree.Writable | tree.Searchable
			if o.entry.Kind != tree.KindDir || o.entry.Flags&need != need {
				return Invalid("names in %q cannot be changed", o.path)
			}
			path, isOld = o.path, true
		}
		for _, n := range d.Names {
			if err := p.nameChange(d.Ino, path, isOld, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) nameChange(dir uint64, path string, isOld bool, n tree.NameChange) error {
	if dir == p.root && strings.HasPrefix(n.Name, StagingPrefix) {
		return fmt.Errorf("%w: name %q is for changes on their way", ErrUnfit, n.Name)
	}
	if isOld {
		at := disk.Join(path, n.Name)
		was, ok := p.base.Lookup(at)
		switch {
		case ok && was.Ino == n.Ino:
			return nil
		case ok && was.Flags&tree.Apart != 0:
			return Invalid("%q is apart", at)
		case ok:
			p.taken[was.Ino] = append(p.taken[was.Ino], name{dir, n.Name, at, stampOf(&was), was.Nlink})
		}
	}
	if n.Ino == 0 {
		return nil
	}
	if !disk.Fits(n.Name) {
		return fmt.Errorf("%w: name %q", ErrUnfit, n.Name)
	}
	p.given[n.Ino] = append(p.given[n.Ino], name{dir: dir, name: n.Name})
	return nil
}

// checkNames sees that a directory has one name, and that nothing gets one that must not.
func (p *planner) checkNames() error {
	for ino, given := range p.given {
		kind := tree.KindInvalid
		if f, ok := p.new[ino]; ok {
			kind = f.Kind
		} else if o := p.old[ino]; o.entry.Kind != tree.KindDir {
			if o.entry.Flags&tree.Shared != 0 && len(given) > len(p.taken[ino]) {
				return Invalid("%q, which has names elsewhere, gets another", o.path)
			}
		} else if kind = tree.KindDir; len(p.taken[ino]) != 1 {
			return Invalid("directory %q gets a second name", o.path)
		}
		if kind == tree.KindDir && len(given) != 1 {
			return Invalid("directory %d has %d names", ino, len(given))
		}
	}
	return nil
}

// checkRemoved sees that a directory that is gone has lost all its names.
func (p *planner) checkRemoved() error {
	for ino, taken := range p.taken {
		if taken[0].was.Kind != tree.KindDir {
			continue
		}
		if len(taken) != 1 {
			return Invalid("directory %q had two names", taken[0].path)
		}
		if len(p.given[ino]) > 0 {
			continue
		}
		list, ok := p.base.Entries(taken[0].path)
		if !ok {
			return Invalid("%q was no directory", taken[0].path)
		}
		for i := range list {
			gone := slices.ContainsFunc(p.taken[list[i].Ino], func(n name) bool { return n.dir == ino && n.name == list[i].Name })
			if !gone {
				return Invalid("directory %q is gone, but still has %q", taken[0].path, list[i].Name)
			}
		}
	}
	return nil
}

// paths finds where each directory stands at the end, and with it that they form a tree.
func (p *planner) paths() error {
	for i := range p.delta.Dirs {
		d := &p.delta.Dirs[i]
		comes := slices.ContainsFunc(d.Names, func(n tree.NameChange) bool { return n.Ino != 0 })
		if !comes {
			continue
		}
		if _, err := p.pathOf(d.Ino); err != nil {
			return err
		}
	}
	for ino := range p.given {
		if _, isDir := p.isDir(ino); isDir {
			if _, err := p.pathOf(ino); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *planner) isDir(ino uint64) (isNew, isDir bool) {
	if f, ok := p.new[ino]; ok {
		return true, f.Kind == tree.KindDir
	}
	o, ok := p.old[ino]
	return false, ok && o.entry.Kind == tree.KindDir
}

// beingFound marks a directory whose path is being found.
const beingFound = "/"

func (p *planner) pathOf(ino uint64) (string, error) {
	if path, ok := p.final[ino]; ok {
		if path == beingFound {
			return "", Invalid("directory %d is inside itself", ino)
		}
		return path, nil
	}
	if ino == p.root {
		return "", nil
	}
	if p.depth++; p.depth > tree.MaxPath/2 {
		return "", fmt.Errorf("%w: directories are %d deep", ErrUnfit, p.depth)
	}
	defer func() { p.depth-- }()
	p.final[ino] = beingFound
	parent, base, err := p.parentOf(ino)
	if err != nil {
		return "", err
	}
	above, err := p.pathOf(parent)
	if err != nil {
		return "", err
	}
	path := disk.Join(above, base)
	if err := p.room(path); err != nil {
		return "", err
	}
	p.final[ino] = path
	return path, nil
}

func (p *planner) parentOf(ino uint64) (parent uint64, base string, err error) {
	if given := p.given[ino]; len(given) > 0 {
		return given[0].dir, given[0].name, nil
	}
	o, ok := p.old[ino]
	if !ok || len(p.taken[ino]) > 0 {
		return 0, "", Invalid("directory %d has names in it, but none itself", ino)
	}
	above, base := disk.Split(o.path)
	return p.byPath[above], base, nil
}

// room bounds what paths take.
func (p *planner) room(path string) error {
	if p.bytes += len(path); len(path) > tree.MaxPath || p.bytes > maxPaths {
		return fmt.Errorf("%w: paths are too long", ErrUnfit)
	}
	return nil
}

func byPath[T any](path func(*T) string) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(path(&a), path(&b)) }
}
