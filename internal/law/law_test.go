// Package law holds the source tree to its rules: who may import whom, and what each package says of itself. It
// has tests only. The linter has the same import rules in .golangci.yml, in a coarser form.
package law

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clonecloud/clonecloud"

// may lists, for each package, which of ours it may import. Imports run one way: cmd on the root, the root on what
// puts a run together, that on the two sides, those on migrate, and that on the formats and the machine.
var may = map[string]string{
	// Formats and the machine: each can be read, tested and fuzzed alone.
	"internal/wasm":          "",
	"internal/wasm/validate": "internal/wasm",
	"internal/linmem":        "",
	"internal/delta":         "",
	"internal/link":          "",
	"internal/vfs":           "",
	"internal/vfs/vfstest":   "internal/vfs",
	"internal/wire":          "internal/wire/wirepb",
	"internal/wire/wirepb":   "",
	"internal/atomicfile":    "",
	"internal/trace":         "",
	"internal/tree":          "",
	// Over one of them each.
	"internal/scan":                 "internal/tree internal/scan/hostdir internal/scan/cachefile",
	"internal/scan/hostdir":         "internal/tree",
	"internal/scan/cachefile":       "",
	"internal/overlay":              "internal/overlay/names internal/overlay/readahead internal/overlay/written internal/tree internal/vfs",
	"internal/overlay/names":        "internal/vfs",
	"internal/overlay/readahead":    "internal/tree",
	"internal/overlay/written":      "internal/tree",
	"internal/reconcile":            "internal/reconcile/disk internal/reconcile/plan internal/tree",
	"internal/reconcile/disk":       "internal/tree",
	"internal/reconcile/plan":       "internal/reconcile/disk internal/tree",
	"internal/chunkstore":           "internal/chunkstore/place internal/tree",
	"internal/chunkstore/place":     "internal/tree",
	"internal/chunkstore/storetest": "internal/chunkstore/place",
	"internal/trust":                "internal/atomicfile",
	"internal/store":                "internal/atomicfile",
	"internal/learned":              "internal/atomicfile",
	"internal/ambient":              "internal/atomicfile",
	"internal/analysis":             "internal/wasm",
	"internal/rewrite":              "internal/wasm internal/wasm/validate internal/analysis",
	"internal/wasi":                 "internal/vfs",
	"internal/wasi/local":           "internal/vfs internal/wasi",
	"internal/peer":                 "internal/link internal/wire",
	"internal/faultproxy":           "internal/link",
	// What is above engine must not know which one runs: only engines imports them.
	"internal/engine":            "internal/linmem",
	"internal/engine/enginetest": "internal/engine internal/linmem internal/wasm",
	"internal/engine/wazero":     "internal/engine internal/linmem",
	"internal/engine/wasmtime":   "internal/engine internal/linmem internal/wasm",
	"internal/engine/engines":    "internal/engine internal/engine/wazero internal/engine/wasmtime",
	// The process, the same code on both sides; then the sides, which do not know each other.
	"internal/migrate": "internal/wasi internal/engine internal/linmem internal/delta internal/wire internal/rewrite internal/wasm",
	// Files that follow a process: what both sides share, and each side.
	"internal/replica":        "internal/overlay internal/tree internal/vfs internal/wasi internal/wasi/local",
	"internal/replica/mirror": "internal/replica internal/overlay internal/tree internal/vfs internal/wasi internal/wasi/local",
	"internal/replica/push":   "internal/replica internal/tree internal/peer internal/link internal/wire",
	"internal/replica/used":   "internal/atomicfile internal/tree",
	"internal/replica/origin": "internal/atomicfile internal/replica internal/replica/used internal/overlay internal/reconcile internal/scan internal/tree internal/vfs internal/wasi internal/wasi/local",
	"internal/device": "internal/replica internal/replica/origin internal/reconcile internal/learned internal/trace internal/migrate internal/peer internal/link internal/wasi/local internal/vfs internal/analysis " +
		"internal/wasi internal/engine internal/linmem internal/delta internal/wire internal/rewrite internal/wasm",
	"internal/clone/choose": "",
	"internal/clone": "internal/clone/choose internal/replica internal/replica/mirror internal/tree internal/migrate internal/peer internal/link " +
		"internal/wasi internal/engine internal/linmem internal/delta internal/wire internal/rewrite internal/wasm",
	// The node: its daemon, its workers, and what they say to each other.
	"internal/node/control": "",
	"internal/node/worker": "internal/atomicfile internal/chunkstore internal/replica/mirror internal/node/control internal/clone internal/clone/choose internal/engine internal/link internal/peer internal/store internal/trust " +
		"internal/wire",
	"internal/node": "internal/node/control internal/node/worker internal/gauge internal/engine internal/peer internal/store internal/trust internal/wire",
	"internal/runner": "internal/replica/origin internal/trace internal/analysis internal/device internal/migrate internal/peer internal/link internal/wasi/local " +
		"internal/wasi internal/engine internal/linmem internal/wire internal/rewrite internal/wasm",
	// The device's way to a node, and what it has learned of it.
	"internal/remote": "internal/atomicfile internal/link internal/peer internal/trust internal/wire",
	"internal/gauge":  "",
	// What a run came to, for people: of its report or its trace.
	"internal/inspect": "internal/device internal/trace",
	".": "internal/ambient internal/replica/push internal/replica/used internal/scan internal/tree internal/replica/origin internal/reconcile internal/analysis internal/atomicfile internal/clone internal/device internal/engine internal/engine/engines internal/faultproxy " +
		"internal/gauge internal/inspect internal/learned internal/link internal/linmem internal/migrate internal/node internal/peer internal/remote internal/runner " +
		"internal/trace internal/trust internal/vfs internal/wasi internal/wasi/local internal/wasm internal/wire",
	"cmd/clonecloud": ". examples",
	// Programs to offload know nothing of what offloads them.
	"examples":           "",
	"examples/gen":       "examples",
	"examples/virusscan": "",
	// A release is made of the binary, from outside.
	"packaging/dist": "",
	// What tests and measures the whole may look everywhere.
	"internal/conformance":                 "*",
	"internal/conformance/corpus":          "",
	"internal/conformance/corpus/mkcorpus": "internal/conformance/corpus",
	"bench/core":                           "*",
	"bench/engines":                        "*",
	"bench/files":                          "*",
	"bench/measure":                        "",
	"bench/programs":                       "",
	"bench/programs/gowork":                "",
}

// outside lists who may import what from other modules, so that each dependency has one place.
var outside = map[string]string{
	"github.com/tetratelabs/wazero":               "internal/engine/wazero internal/conformance/corpus/mkcorpus",
	"github.com/bytecodealliance/wasmtime-go/v39": "internal/engine/wasmtime",
	"github.com/spf13/cobra":                      "cmd/clonecloud",
	"github.com/spf13/pflag":                      "cmd/clonecloud",
	"github.com/BurntSushi/toml":                  "cmd/clonecloud",
	"github.com/klauspost/compress":               "internal/delta internal/link internal/replica",
	"google.golang.org/protobuf":                  "internal/wire internal/wire/wirepb",
	"github.com/PlakarKorp/go-cdc-chunkers":       "internal/tree",
	"github.com/minio/minio-go/v7":                "internal/chunkstore/place",
	"go.etcd.io/bbolt":                            "internal/scan/cachefile",
	"golang.org/x/sys":                            "internal/reconcile/disk internal/scan/hostdir internal/link internal/linmem internal/store internal/vfs internal/wasi/local bench/measure internal/node internal/node/control cmd/clonecloud",
	"github.com/google/go-cmp":                    "internal/engine/enginetest", // a suite for tests
}

// source is what the non-test files of a package say.
type source struct {
	name     string
	imports  map[string]bool
	comments []string // package comments
}

// read parses the packages of the tree, for all platforms.
func read(t *testing.T) map[string]*source {
	t.Helper()
	root := filepath.Join("..", "..")
	packages := map[string]*source{}
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if at != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), at, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(at))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		p := packages[dir]
		if p == nil {
			p = &source{imports: map[string]bool{}}
			packages[dir] = p
		}
		p.add(f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 20 {
		t.Fatalf("found %d packages: this is not the whole tree", len(packages))
	}
	return packages
}

func (p *source) add(f *ast.File) {
	p.name = f.Name.Name
	for _, i := range f.Imports {
		p.imports[strings.Trim(i.Path.Value, `"`)] = true
	}
	if text := f.Doc.Text(); text != "" {
		p.comments = append(p.comments, text)
	}
}

func TestImports(t *testing.T) {
	packages := read(t)
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		list, known := may[dir]
		if !known {
			t.Errorf("%s: not in the import law; say in this test what it may import", dir)
			continue
		}
		for _, imp := range slices.Sorted(maps.Keys(packages[dir].imports)) {
			switch ours, ok := strings.CutPrefix(imp, module); {
			case ok:
				ours = strings.TrimPrefix(path.Clean("./"+ours), "/")
				if list != "*" && !slices.Contains(strings.Fields(list), ours) {
					t.Errorf("%s must not import %s", dir, ours)
				}
			case strings.Contains(strings.Split(imp, "/")[0], "."):
				if !mayUse(dir, imp) {
					t.Errorf("%s must not import %s", dir, imp)
				}
			}
		}
	}
	for dir := range may {
		if packages[dir] == nil {
			t.Errorf("the import law speaks of %s, which is not there", dir)
		}
	}
}

func mayUse(dir, imp string) bool {
	for mod, users := range outside {
		if imp == mod || strings.HasPrefix(imp, mod+"/") {
			return slices.Contains(strings.Fields(users), dir)
		}
	}
	return false
}

func TestPackageComments(t *testing.T) {
	for dir, p := range read(t) {
		if len(p.comments) != 1 {
			t.Errorf("%s has %d package comments, want one", dir, len(p.comments))
			continue
		}
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if !strings.HasPrefix(p.comments[0], want) && p.name != "wirepb" {
			t.Errorf("%s: the package comment begins %.40q, want %q", dir, p.comments[0], want)
		}
	}
}
