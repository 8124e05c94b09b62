package vfstest

import (
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
)

// Run runs the suite; make returns an empty tree.
func Run(t *testing.T, make func(t *testing.T) vfs.FS) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			sh, err := NewShell(make(t))
			if err != nil {
				t.Fatal(err)
			}
			defer sh.Close()
			for i, line := range strings.Split(strings.TrimSpace(s.text), "\n") {
				line, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
				if got := sh.Do(line); got != want {
					t.Errorf("step %d: %s: got %q, want %q", i+1, line, got, want)
				}
			}
		})
	}
	t.Run("times", func(t *testing.T) { testTimes(t, make(t)) })
	t.Run("identity", func(t *testing.T) { testIdentity(t, make(t)) })
	t.Run("bad-paths", func(t *testing.T) { testBadPaths(t, make(t)) })
	t.Run("limits", func(t *testing.T) { testLimits(t, make(t)) })
}

// scripts hold operations (see Shell) and what they give, as on Linux; nothing behind "=>" is plain success.
var scripts = []struct{ name, text string }{
	{"files", `
		try r f => -> ENOENT
		put f hello
		cat f => "hello"
		stat f => file 5 nlink 1
		try rcx f => -> EEXIST
		try rc f => file
		try rd f => -> ENOTDIR
		try rt f => file
		cat f => ""
		put f longer
		open a rw f
		write a 2 XX => 2
		read a 0 100 => "loXXer"
		read a 6 1 => ""
		read a 600 1 => ""
		write a 8 end => 3
		read a 0 100 => "loXXer\x00\x00end"
		append a more => 4 15
		append a s => 1 16
		write a 0 L => 1
		read a 0 100 => "LoXXer\x00\x00endmores"
		size a 3
		fstat a => file 3 nlink 1
		size a 5
		read a 0 9 => "LoX\x00\x00"
		allocate a 0 2
		fstat a => file 5 nlink 1
		allocate a 4 6
		fstat a => file 10 nlink 1
		allocate a 0 0 => -> EINVAL
		sync a data
		sync a
		close a
		open r r f
		write r 0 no => -> EBADF
		close r
		open w w f
		read w 0 1 => -> EBADF
		close w`},
	{"directories", `
		mkdir d
		mkdir d => -> EEXIST
		mkdir d/ => -> EEXIST
		mkdir d/e/
		mkdir x/y => -> ENOENT
		put f 1
		mkdir f => -> EEXIST
		mkdir f/ => -> EEXIST
		mkdir f/g => -> ENOTDIR
		try r d => dir
		try rd d => dir
		try r d/ => dir
		try r d/. => dir
		try r . => dir
		try w d => -> EISDIR
		try rw d/e => -> EISDIR
		try rt d => -> EISDIR
		try rc d => -> EISDIR
		try rcx d => -> EEXIST
		try rc d/ => -> EISDIR
		try rc n/ => -> EISDIR
		try rcd n => -> EINVAL
		try r f/ => -> ENOTDIR
		try r f/. => -> ENOTDIR
		try r f/.. => -> ENOTDIR
		stat f/ => -> ENOTDIR
		stat d/ => dir
		rmdir d => -> ENOTEMPTY
		rmdir f => -> ENOTDIR
		rmdir f/ => -> ENOTDIR
		rmdir n => -> ENOENT
		rmdir . => -> EINVAL
		rmdir d/. => -> EINVAL
		unlink d => -> EISDIR
		unlink d/ => -> EISDIR
		unlink f/ => -> ENOTDIR
		unlink n => -> ENOENT
		rmdir d/e/
		rmdir d
		unlink f
		ls . => `},
	{"listing", `
		mkdir b
		put a 1
		put c 2
		symlink a B
		put b/x 3
		put Ω 4
		ls . => B a b c Ω
		ls b => x
		ls b/ => x
		ls a => -> ENOTDIR`},
	{"dots", `
		mkdir d
		mkdir d/e
		put d/e/f in
		cat d/./e//f => "in"
		cat d/e/../e/f => "in"
		cat d/.//e/../../d/e/../e///./f => "in"
		stat .. => -> EPERM
		stat d/../.. => -> EPERM
		cat d/../../d/e/f => -> EPERM
		cat d/e/../../../d/e/f => -> EPERM
		cat /d/e/f => -> EPERM
		mkdir .. => -> EPERM
		mkdir . => -> EEXIST
		mkdir d/.. => -> EEXIST
		unlink d/.. => -> EISDIR
		rename . x => -> EBUSY
		rename d d/e/.. => -> EBUSY
		cat n/../d/e/f => -> ENOENT
		sub s d/e
		cat s:f => "in"
		cat s:../e/f => -> EPERM
		mkdir s:../g => -> EPERM
		rename s:f ../g => -> EPERM
		put s:new out
		cat d/e/new => "out"`},
	{"symlinks", `
		mkdir d
		put d/f text
		symlink d/f l
		symlink d ld
		symlink nowhere dang
		symlink loop loop
		readlink l => d/f
		readlink d => -> EINVAL
		readlink d/f => -> EINVAL
		readlink none => -> ENOENT
		readlink ld/ => -> EINVAL
		readlink l/ => -> ENOTDIR
		cat l => "text"
		cat ld/f => "text"
		stat l => file 4 nlink 1
		lstat l => link 3 nlink 1
		lstat ld/ => dir
		stat dang => -> ENOENT
		lstat dang => link 7 nlink 1
		stat loop => -> ELOOP
		cat loop/x => -> ELOOP
		try r l => -> ELOOP
		try rf l => file
		try rd ld => -> ENOTDIR
		try rdf ld => dir
		try rdf l => -> ENOTDIR
		try r ld/ => dir
		try r dang => -> ELOOP
		try rf dang => -> ENOENT
		try rc l => -> ELOOP
		try rcx l => -> EEXIST
		try rcxf l => -> EEXIST
		try rcxf dang => -> EEXIST
		try rcf dang => file
		stat nowhere => file 0 nlink 1
		symlink x l => -> EEXIST
		symlink x d => -> EEXIST
		symlink x d/ => -> EEXIST
		symlink x d/f/ => -> ENOTDIR
		symlink x n/ => -> ENOENT
		symlink x n/m => -> ENOENT
		symlink /etc abs => -> EPERM
		symlink _EMPTY_ e => -> ENOENT
		rmdir ld => -> ENOTDIR
		rmdir ld/ => -> ENOTDIR
		unlink ld/ => -> ENOTDIR
		unlink ld
		stat d => dir
		rename l l2
		readlink l2 => d/f`},
	{"escaping-symlinks", `
		mkdir d
		symlink ../.. d/up
		symlink .. d/top
		symlink ../../etc d/etc
		try rf d/up => -> EPERM
		stat d/up/x => -> EPERM
		stat d/etc => -> EPERM
		lstat d/etc => link 9 nlink 1
		try rf d/top => dir
		sub s d
		try rf s:top => -> EPERM
		put s:up/x no => -> EPERM
		mkdir d/up/x => -> EPERM
		unlink d/etc/passwd => -> EPERM
		rename d/etc/passwd p => -> EPERM
		link d/up/x y => -> EPERM
		symlink d/up/x z
		cat z => -> EPERM`},
	{"links", `
		put a 1
		mkdir d
		link a d/b
		stat a => file 1 nlink 2
		put d/b 22
		cat a => "22"
		link a d/b => -> EEXIST
		link a d => -> EEXIST
		link d e => -> EPERM
		link a/ e => -> ENOTDIR
		link a e/ => -> ENOENT
		link a d/ => -> EEXIST
		link n e => -> ENOENT
		link a n/e => -> ENOENT
		symlink a l
		link l l2
		lstat l2 => link 1 nlink 2
		rename a d/b
		cat a => "22"
		unlink a
		stat d/b => file 2 nlink 1
		open h rw d/b
		unlink d/b
		fstat h => file 2 nlink 0
		write h 2 33 => 2
		read h 0 9 => "2233"
		append h 4 => 1 5
		size h 1
		fstat h => file 1 nlink 0
		close h
		ls d => `},
	{"rename", `
		put a 1
		put b 2
		mkdir d
		mkdir e
		mkdir e/sub
		rename a b
		cat b => "1"
		stat a => -> ENOENT
		rename b b
		cat b => "1"
		rename b d => -> EISDIR
		rename d b => -> ENOTDIR
		rename d e => -> ENOTEMPTY
		rename e e/sub => -> EINVAL
		rename e e/sub/x => -> EINVAL
		rename e d
		ls d => sub
		stat e => -> ENOENT
		rename b/ c => -> ENOTDIR
		rename b c/ => -> ENOTDIR
		rename b d/ => -> ENOTDIR
		rename d/ dd
		rename dd ee/
		ls ee => sub
		rename none x => -> ENOENT
		rename b none/x => -> ENOENT
		rename b ee/sub/x
		rename ee/sub/x .././x => -> EPERM
		cat ee/sub/x => "1"
		sub s ee/sub
		sub t ee
		rename s:x t:y
		cat ee/y => "1"
		rename t:y ./../y => -> EPERM
		rename s:x t:z => -> ENOENT`},
	{"removed-directory", `
		mkdir d
		sub s d
		rmdir d
		put s:f 1 => -> ENOENT
		mkdir s:g => -> ENOENT
		symlink x s:l => -> ENOENT
		stat s:f => -> ENOENT
		ls . => `},
	{"moved-directory", `
		mkdir d
		put d/f 1
		sub s d
		rename d e
		cat s:f => "1"
		put s:g 2
		ls e => f g`},
}
