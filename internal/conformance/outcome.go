package conformance

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
)

// Outcome is all that can be seen of a run.
type Outcome struct {
	Stdout, Stderr []byte
	Called         []byte            // calls of the case's host functions, a line each
	End            string            // how the guest ended, in words
	Tree           map[string]string // of all mounts: path to kind and content
	Report         device.Report
	Log            []string
	Fired          int // faults that struck
	Events         []trace.Event
}

// end says how a guest ended, in the words that must be the same on each way.
func end(err error) string {
	var exit *wasi.ExitError
	var trap *engine.Trap
	var exc *engine.Exception
	switch {
	case err == nil:
		return "returned"
	case errors.As(err, &exit):
		return exit.Error()
	case errors.As(err, &trap):
		return trap.Error()
	case errors.As(err, &exc):
		return exc.Error()
	}
	return "failed: " + err.Error()
}

// tree takes what a directory holds into t.
func tree(host, guest string, t map[string]string) error {
	return filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, p)
		if err != nil {
			return err
		}
		name := guest + ":" + filepath.ToSlash(rel)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			t[name] = "link to " + to
			return err
		case d.IsDir():
			t[name] = "directory"
		default:
			b, err := os.ReadFile(p)
			t[name] = fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
			return err
		}
		return nil
	})
}

// Diff says how got differs from want, "" if it does not.
func Diff(want, got *Outcome) string {
	var d []string
	if want.End != got.End {
		d = append(d, fmt.Sprintf("end: %q, want %q", got.End, want.End))
	}
	stream := func(name string, want, got []byte) {
		if bytes.Equal(want, got) {
			return
		}
		at := 0
		for at < len(want) && at < len(got) && want[at] == got[at] {
			at++
		}
		d = append(d, fmt.Sprintf("%s: %d bytes, want %d, first difference at %d: %q, want %q", name, len(got), len(want), at,
			around(got, at), around(want, at)))
	}
	stream("stdout", want.Stdout, got.Stdout)
	stream("stderr", want.Stderr, got.Stderr)
	stream("calls of host functions", want.Called, got.Called)
	var names []string
	for n := range want.Tree {
		names = append(names, n)
	}
	for n := range got.Tree {
		if _, ok := want.Tree[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if want.Tree[n] != got.Tree[n] {
			d = append(d, fmt.Sprintf("file %s: %q, want %q", n, got.Tree[n], want.Tree[n]))
		}
	}
	return strings.Join(d, "\n")
}

func around(b []byte, at int) []byte { return b[max(0, at-20):min(len(b), at+40)] }
