package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// Private names what never leaves the device. What the program reads of it here is in its memory from then on, nobody
// knows where; so from the first reading on the process stays.
type Private struct {
	Stdin bool
	Dirs  []string // guest's names of preopened directories
	Env   []string // names of variables
}

// ErrPrivate marks a Private that names what the process does not have.
var ErrPrivate = errors.New("no directory of the program has this name")

// Check tells whether the directories that are named are there.
func (p Private) Check(s *wasi.State) error {
	var dirs []string
	for _, f := range s.FDs() {
		if f.Preopen != "" {
			dirs = append(dirs, f.Preopen)
		}
	}
	for _, d := range p.Dirs {
		if !slices.Contains(dirs, d) {
			return fmt.Errorf("keep %q on the device: %w", d, ErrPrivate)
		}
	}
	return nil
}

// outside is the real System with a memory of names: what each handle was opened as, and which are private.
type outside struct {
	wasi.System
	names map[uint64]string
	kept  map[uint64]bool
	// calls and bytes count what a clone would have to call home for, and what these calls and output carry.
	calls int
	bytes uint64
	// follows tells whether a handle's file would be on the clone with the process; nil: none would.
	follows func(handle uint64) bool
	// read says what of the private the program has read here, "" if nothing.
	read string
}

func newOutside(s wasi.System, l *local.System, p Private) *outside {
	o := &outside{System: s, names: map[uint64]string{}, kept: map[uint64]bool{}}
	for _, h := range l.Handles() {
		fd, _ := l.Issued(h)
		switch {
		case fd.Preopen != "":
			o.open(h, fd.Preopen, slices.Contains(p.Dirs, fd.Preopen))
		case fd.Kind == wasi.KindStream: // of the first handles, stdin alone is one
			o.open(h, "standard input", p.Stdin)
		}
	}
	return o
}

// open notes what a handle stands for. Only what is kept is in kept.
func (o *outside) open(handle uint64, name string, kept bool) {
	o.names[handle] = name
	if kept {
		o.kept[handle] = true
	}
}

// touches tells which private thing a request concerns, "" if none.
func (o *outside) touches(req *wasi.Request) string {
	if len(o.kept) == 0 {
		return "" // every call of the program passes here
	}
	for _, h := range req.Handles() {
		if o.kept[h] {
			return cmp.Or(o.name(req), o.names[h]) // a poll names its handles elsewhere
		}
	}
	return ""
}

// name is what a request concerns, as the guest would call it.
func (o *outside) name(req *wasi.Request) string {
	dir, file := o.names[req.Handle], req.Path
	if req.Op == wasi.OpSymlink {
		dir, file = o.names[req.Handle2], req.Path2
	}
	if dir == "" || file == "" {
		return dir
	}
	return path.Join(dir, file)
}

// Do implements wasi.System.
func (o *outside) Do(ctx context.Context, req *wasi.Request, resp *wasi.Response) error {
	if err := o.System.Do(ctx, req, resp); err != nil {
		return err
	}
	if req.Op.Where() != wasi.AtClone && req.Op != wasi.OpClose {
		if req.Op.Where() == wasi.AtHome && (o.follows == nil || !o.follows(req.Handle)) {
			o.calls++
		}
		o.bytes += uint64(len(req.Data) + len(resp.Data))
	}
	private := o.touches(req)
	if private != "" && o.read == "" && tells(req.Op) {
		o.read = private
	}
	switch {
	case req.Op == wasi.OpOpen && resp.Errno == 0:
		o.open(resp.Handle, o.name(req), private != "")
	case req.Op == wasi.OpClose:
		delete(o.names, req.Handle)
		delete(o.kept, req.Handle)
	}
	return nil
}

// tells tells whether an operation lets the program know what is in a file, a directory or a stream. Renaming and
// linking do, since they may give what is inside another name.
func tells(op wasi.Op) bool {
	switch op {
	case wasi.OpRead, wasi.OpReadAt, wasi.OpReadDir, wasi.OpReadlink, wasi.OpStat, wasi.OpStatPath, wasi.OpRename, wasi.OpLink:
		return true
	}
	return false
}

// public returns the variables that may leave.
func (p Private) public(env []string) []string {
	if len(p.Env) == 0 {
		return env
	}
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(p.Env, name)
	})
}

// privateError ends an attempt that asks for what stays, and names that.
type privateError struct{ name string }

func (privateError) Error() string { return "it needs what stays on the device" }

// errUpload ends an attempt that would send more than allowed.
var errUpload = errors.New("more would leave the device than allowed")

// stays gives the reason for which nothing may leave any more, "" if something may, and the name of what was read.
func (c *Controller) stays() (why, name string) {
	switch {
	case c.out.read != "":
		return "read what stays on the device", c.out.read
	case len(c.cfg.Private.Env) > 0 && c.proc.WASI.EnvRead:
		return "read its variables", ""
	case c.cfg.Limits.Upload > 0 && c.cfg.Cloud.totals().up >= c.cfg.Limits.Upload:
		return "upload limit", ""
	}
	return "", ""
}

// settleHere lets everything stay from now on.
func (c *Controller) settleHere(why, name string) {
	if c.here {
		return
	}
	c.here = true
	for _, k := range c.proc.Manifest.Candidates {
		if k.Arm != "" {
			c.proc.Arm(k.ID, false)
		}
	}
	c.emit(trace.Event{Kind: trace.Stay, Text: why, Name: name})
}

// uploadMargin is what the frames around what is sent may need, and acknowledgements.
const uploadMargin = 1 << 10

// mayUpload tells whether n more bytes may be sent.
func (c *Controller) mayUpload(n uint64) bool {
	limit := c.cfg.Limits.Upload
	return limit == 0 || c.cfg.Cloud.totals().up+c.cfg.Cloud.unwritten()+n+uploadMargin <= limit
}
