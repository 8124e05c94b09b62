package rewrite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clonecloud/clonecloud/internal/rewrite"
	"github.com/clonecloud/clonecloud/internal/wasm"
)

const program = `package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"text/template"
)

func main() {
	x := new(big.Int).Exp(big.NewInt(3), big.NewInt(1000), nil)
	b, err := json.Marshal(map[string]any{"x": x, "m": regexp.MustCompile("a+").FindString(fmt.Sprint(os.Args))})
	template.Must(template.New("t").Parse("{{.}}")).Execute(os.Stdout, string(b))
	fmt.Println(err)
}
`

var build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "rewrite")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, out := filepath.Join(dir, "main.go"), filepath.Join(dir, "main.wasm")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-o", out, source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return msg, err
	}
	return os.ReadFile(out)
})

// goProgram is a program of some megabytes.
func goProgram(t testing.TB) []byte {
	bin, err := build()
	if err != nil {
		t.Skipf("cannot build a program: %v\n%s", err, bin)
	}
	return bin
}

func BenchmarkRewrite(b *testing.B) {
	bin := goProgram(b)
	if file := os.Getenv("REWRITE_MODULE"); file != "" {
		var err error
		if bin, err = os.ReadFile(file); err != nil {
			b.Fatal(err)
		}
	}
	m, err := wasm.Decode(bin)
	if err != nil {
		b.Fatal(err)
	}
	all := withCandidates(m, rewrite.Options{})
	few := rewrite.Options{SCC: all.SCC}
	for i := 0; i < len(all.Candidates); i += 50 {
		few.Candidates = append(few.Candidates, all.Candidates[i])
	}
	for _, v := range []struct {
		name string
		opt  rewrite.Options
	}{
		{"clone", rewrite.Options{Candidates: few.Candidates}},
		{"clone-nan", rewrite.Options{Candidates: few.Candidates, CanonicalNaN: true}},
		{"device", rewrite.Options{Candidates: few.Candidates, SCC: few.SCC, Wrap: true}},
		{"device-polls-nan", rewrite.Options{
			Candidates: few.Candidates, SCC: few.SCC, Wrap: true, Poll: rewrite.PollOuterLoops, CanonicalNaN: true,
		}},
		{"device-all", rewrite.Options{
			Candidates: all.Candidates, SCC: all.SCC, Wrap: true, Poll: rewrite.PollAllLoops, CanonicalNaN: true,
		}},
	} {
		b.Run(v.name, func(b *testing.B) {
			b.SetBytes(int64(len(bin)))
			for b.Loop() {
				if _, err := rewrite.Rewrite(m, v.opt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(bin)))
		for b.Loop() {
			if _, err := wasm.Decode(bin); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(bin)))
		for b.Loop() {
			m.Encode()
		}
	})
	b.Run("whylocal", func(b *testing.B) {
		b.SetBytes(int64(len(bin)))
		for b.Loop() {
			rewrite.WhyLocal(m)
		}
	})
}
