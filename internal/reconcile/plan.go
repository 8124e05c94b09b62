package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// stamp is a state of a file, to see whether it is still that.
type stamp struct {
	kind                    tree.Kind
	ino, size, mtime, ctime uint64
}

func stampOf(e *tree.Entry) stamp { return stamp{e.Kind, e.Ino, e.Size, e.Mtime, e.Ctime} }

// same tells whether st is of the same file.
func (s *stamp) same(st *stat) bool { return st.kind == s.kind && st.ino == s.ino }

// hasContents tells whether anything would be lost with the file.
func (s *stamp) hasContents() bool { return s.kind == tree.KindFile || s.kind == tree.KindSymlink }

// unchanged looks at what another name leaves as it was.
func (s *stamp) unchanged(st *stat) bool {
	return !s.hasContents() || st.size == s.size && st.mtime == s.mtime
}

// intact tells whether st is the file, as it was.
func (s *stamp) intact(st *stat) bool { return s.same(st) && s.unchanged(st) && st.ctime == s.ctime }

// steps are what is to be done, in this order: writes; displacements, deepest first; placements, from the top; links;
// removal of what was displaced and has no place; times of directories.
type steps struct {
	made      []made // new files, ready in the staging folder under newName
	writes    []write
	displaced []displacement
	places    []placement
	links     []link
	times     []dirTimes
}

// made is a new file.
type made struct {
	ino          uint64 // in the delta
	kind         tree.Kind
	num          uint64 // the system's number of it
	named        bool
	mtime, atime uint64       // here only until it is staged, as what follows
	target       string       //
	size         uint64       //
	pieces       []tree.Piece //
}

// write changes contents or times of a file that was there, at the place where it was.
type write struct {
	path         string
	was          stamp
	final        string // the path that it will have
	elsewhere    bool   // it will have another, which is not known
	nameless     bool   // it will have none
	written      bool
	mode         uint32 // permission bits that it had
	size         uint64
	pieces       []piece
	mtime, atime uint64
	chunks       []tree.Chunk // of what was pinned, if known
}

// piece is a run of bytes: kept, a hole, or from off in the plan's file.
type piece struct {
	size  uint64
	form  uint8
	off   uint64
	check tree.ID
}

const (
	formHole = iota
	formData
	formKept
	numForms
)

// displacement takes a name away: what had it goes to the staging folder under oldName.
type displacement struct {
	path string
	was  stamp
	// gone: the changes leave the file no name that they know of, so that it will be removed.
	gone bool
	// takes is, of a file that has other names and gets none, how many are taken away. 0: of others.
	takes uint64
	// sole: nothing that comes before changes the file's attributes.
	sole bool
	// write is the position of the write that changes the file too, -1: none does.
	write int
}

// placement gives a name to what stands in the staging folder.
type placement struct {
	path string
	from string // name in the staging folder
	kind tree.Kind
	made bool // it is new
	ino  uint64
}

// link gives another name to a file that has one.
type link struct {
	path string
	to   string // a path it has
	num  uint64 // its number: the system's
	made int    // position of a new file, whose num it is; -1: none
	ino  uint64
}

// dirTimes sets times of a directory.
type dirTimes struct {
	path         string
	mtime, atime uint64
}

func newName(i int) string { return "n" + strconv.Itoa(i) }
func oldName(i int) string { return "o" + strconv.Itoa(i) }

// stagingPrefix begins names at the top of a directory that are not of its tree.
const stagingPrefix = ".clonecloud-"

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
	steps
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
	was  stamp
	link uint32 // names that its file had
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// plan checks a delta and makes steps of it.
func plan(d *tree.Delta, base Base, maxBytes uint64) (*steps, error) {
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
	return &p.steps, nil
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
			return invalid("%q was not there", b.Path)
		case e.Ino != b.Ino:
			return invalid("%q had number %d, not %d", b.Path, e.Ino, b.Ino)
		case e.Flags&tree.Apart != 0:
			return invalid("%q is apart", b.Path)
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
		path, _ = split(path)
		if _, ok := p.byPath[path]; ok {
			return nil
		}
		e, ok := p.base.Lookup(path)
		if !ok || e.Kind != tree.KindDir {
			return invalid("%q was no directory", path)
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
		return invalid("%q is of kind %d, not %d", o.path, o.entry.Kind, f.Kind)
	case o.entry.Flags&tree.Shared != 0:
		return invalid("%q has names elsewhere", o.path)
	case f.Written && o.entry.Flags&tree.Writable == 0:
		return invalid("%q cannot be written", o.path)
	}
	at := uint64(0)
	for _, x := range f.Pieces {
		at += x.Size
		if x.Kept && at > o.entry.Size {
			return invalid("%q keeps bytes up to %d, but had %d", o.path, at, o.entry.Size)
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
				return invalid("names in %q cannot be changed", o.path)
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
	if dir == p.root && strings.HasPrefix(n.Name, stagingPrefix) {
		return fmt.Errorf("%w: name %q is for changes on their way", ErrUnfit, n.Name)
	}
	if isOld {
		at := join(path, n.Name)
		was, ok := p.base.Lookup(at)
		switch {
		case ok && was.Ino == n.Ino:
			return nil
		case ok && was.Flags&tree.Apart != 0:
			return invalid("%q is apart", at)
		case ok:
			p.taken[was.Ino] = append(p.taken[was.Ino], name{dir, n.Name, at, stampOf(&was), was.Nlink})
		}
	}
	if n.Ino == 0 {
		return nil
	}
	if !fits(n.Name) {
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
				return invalid("%q, which has names elsewhere, gets another", o.path)
			}
		} else if kind = tree.KindDir; len(p.taken[ino]) != 1 {
			return invalid("directory %q gets a second name", o.path)
		}
		if kind == tree.KindDir && len(given) != 1 {
			return invalid("directory %d has %d names", ino, len(given))
		}
	}
	return nil
}

// checkRemoved sees that a directory that is gone has lost all its names.
func (p *planner) checkRemoved() error {
	for ino, taken := range p.taken {
		if taken[0].was.kind != tree.KindDir {
			continue
		}
		if len(taken) != 1 {
			return invalid("directory %q had two names", taken[0].path)
		}
		if len(p.given[ino]) > 0 {
			continue
		}
		list, ok := p.base.Entries(taken[0].path)
		if !ok {
			return invalid("%q was no directory", taken[0].path)
		}
		for i := range list {
			gone := slices.ContainsFunc(p.taken[list[i].Ino], func(n name) bool { return n.dir == ino && n.name == list[i].Name })
			if !gone {
				return invalid("directory %q is gone, but still has %q", taken[0].path, list[i].Name)
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
			return "", invalid("directory %d is inside itself", ino)
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
	path := join(above, base)
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
		return 0, "", invalid("directory %d has names in it, but none itself", ino)
	}
	above, base := split(o.path)
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
