package clonecloud_test

import (
	"flag"
	"fmt"
	"go/constant"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/api.txt anew")

const root = "github.com/clonecloud/clonecloud"

// TestAPI compares what this package offers with testdata/api.txt, one line for a symbol. What is gone or has changed breaks
// programs that use it. -rewrite takes the present state over.
func TestAPI(t *testing.T) {
	const file = "testdata/api.txt"
	got := describe(apiOf(t, root))
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for _, line := range without(want, got) {
		t.Errorf("breaks programs: there is no more %s", line)
	}
	for _, line := range without(got, want) {
		t.Errorf("not in %s: %s", file, line)
	}
	if t.Failed() {
		t.Log("if that is meant: go test . -run TestAPI -rewrite")
	}
}

// without returns the lines of a that b does not have.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
}

// TestAPITest: what TestAPI would notice.
func TestAPITest(t *testing.T) {
	got := describe(apiOf(t, root))
	for _, want := range []string{
		"func Load(ctx context.Context, cfg Config) (*Program, error)",
		"method (*Process) Call(ctx context.Context, export string, args ...uint64) ([]uint64, error)",
		"field Config.Module []byte",
		"const I32 ValueType = 127",
		"var ErrBusy error",
		"type Report = internal/device.Report struct",
		"field internal/device.Report.Wall time.Duration `json:\"wall_ns\"`",
		"method (*internal/device.Report) Offloads() (done int, fallbacks int)",
		"method (*internal/migrate.HostCall) I32(i int) int32",
	} {
		i := slices.Index(got, want)
		if i < 0 {
			t.Errorf("no line %s", want)
			continue
		}
		if gone := without(got, slices.Delete(slices.Clone(got), i, i+1)); !slices.Equal(gone, []string{want}) {
			t.Errorf("without %s, %q is missing", want, gone)
		}
	}
	for _, line := range got {
		if strings.Contains(line, "choosePolicy") || strings.HasPrefix(line, "field Process.") {
			t.Errorf("not exported: %s", line)
		}
	}
}

// apiOf reads the types of a package from what the go command has compiled of it.
func apiOf(t *testing.T, pkg string) *types.Package {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", pkg).Output()
	if err != nil {
		t.Skipf("no go command that works: %v", err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[name] = file
	}
	p, err := importer.ForCompiler(token.NewFileSet(), "gc", func(name string) (io.ReadCloser, error) {
		return os.Open(files[name])
	}).Import(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// surface collects lines about what a package offers, and about our types that it leads to.
type surface struct {
	lines []string
	seen  map[*types.Named]bool
}

func describe(p *types.Package) []string {
	s := &surface{seen: map[*types.Named]bool{}}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Const:
			value := o.Val().ExactString()
			if o.Val().Kind() == constant.String {
				value = o.Val().String()
			}
			s.add("const %s %s = %s", name, s.text(o.Type()), value)
		case *types.Var:
			s.add("var %s %s", name, s.text(o.Type()))
		case *types.Func:
			s.add("func %s%s", name, s.signature(o))
		case *types.TypeName:
			s.typeName(o)
		}
	}
	slices.Sort(s.lines)
	return slices.Compact(s.lines)
}

func (s *surface) add(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func qualified(p *types.Package) string {
	switch {
	case p.Path() == root:
		return ""
	case strings.HasPrefix(p.Path(), root+"/"):
		return strings.TrimPrefix(p.Path(), root+"/")
	}
	return path.Base(p.Path())
}

// text writes a type, and describes those of ours in it.
func (s *surface) text(t types.Type) string {
	s.follow(t)
	return types.TypeString(t, qualified)
}

func (s *surface) signature(f *types.Func) string {
	s.follow(f.Type())
	return strings.TrimPrefix(types.TypeString(f.Type(), qualified), "func")
}

// follow describes the named types of ours that a type is made of.
func (s *surface) follow(t types.Type) {
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if p := t.Obj().Pkg(); p != nil && strings.HasPrefix(p.Path(), root) {
			s.named(t)
		}
	case *types.Signature:
		for v := range t.Params().Variables() {
			s.follow(v.Type())
		}
		for v := range t.Results().Variables() {
			s.follow(v.Type())
		}
	case *types.Map:
		s.follow(t.Key())
		s.follow(t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		s.follow(t.Elem())
	}
}

func (s *surface) typeName(o *types.TypeName) {
	kind := func(t types.Type) string {
		switch u := t.Underlying().(type) {
		case *types.Struct:
			return "struct"
		case *types.Interface:
			return "interface"
		default:
			return s.text(u)
		}
	}
	if !o.IsAlias() {
		s.add("type %s %s", o.Name(), kind(o.Type()))
		s.follow(o.Type())
		return
	}
	s.add("type %s = %s %s", o.Name(), s.text(types.Unalias(o.Type())), kind(o.Type()))
}

// named describes fields and methods of one type, once.
func (s *surface) named(t *types.Named) {
	if s.seen[t] {
		return
	}
	s.seen[t] = true
	name := types.TypeString(t, qualified)
	switch u := t.Underlying().(type) {
	case *types.Struct:
		for i := range u.NumFields() {
			if f := u.Field(i); f.Exported() {
				tag := ""
				if u.Tag(i) != "" {
					tag = " `" + u.Tag(i) + "`"
				}
				s.add("field %s.%s %s%s", name, f.Name(), s.text(f.Type()), tag)
			}
		}
	case *types.Interface:
		for f := range u.Methods() {
			if f.Exported() {
				s.add("method (%s) %s%s", name, f.Name(), s.signature(f))
			}
		}
		return
	default:
		s.follow(u)
	}
	methods := types.NewMethodSet(types.NewPointer(t))
	values := types.NewMethodSet(t)
	for m := range methods.Methods() {
		if f, ok := m.Obj().(*types.Func); ok && f.Exported() {
			receiver := "*" + name
			if values.Lookup(f.Pkg(), f.Name()) != nil {
				receiver = name
			}
			s.add("method (%s) %s%s", receiver, f.Name(), s.signature(f))
		}
	}
}
