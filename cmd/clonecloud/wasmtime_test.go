package main

import (
	"strings"
	"testing"
)

// TestForeignOptions gives each of wasmtime's options that is listed, and holds it to what the list says of it.
func TestForeignOptions(t *testing.T) {
	values := map[string]string{"timeout": "60s", "max-memory-size": "1GiB", "inherit-env": "y", "cache": "y"}
	letters := map[string]bool{}
	for _, g := range foreignGroups {
		letters[g.letter] = true
		for _, o := range g.options {
			name := strings.Replace(o.name, "*", "anything", 1)
			t.Run(g.letter+"-"+name, func(t *testing.T) {
				accept := func(want bool, args ...string) {
					t.Helper()
					got := inProcess(t, nil, append(append([]string{"run"}, args...), guest, "exit", "3")...)
					if (got.code == 3) != want || want && got.stderr != "" {
						t.Errorf("%q: got %+v, want it taken: %v", args, got, want)
					}
				}
				short, long := "-"+g.letter, "--"+g.flag
				switch {
				case o.refuse != "":
					accept(false, short, name)
					accept(false, long, name+"=1")
				case o.set != nil:
					accept(true, short, name+"="+values[o.name])
					accept(true, long+"="+name+"="+values[o.name])
					accept(false, short, name+"=frob")
				case o.always == "":
					accept(true, short, name)
					accept(true, short+name+"=2")
				default:
					accept(true, short, name+"="+o.always)
					accept(o.always == "y", long, name)
					accept(false, short, name+"="+map[string]string{"y": "n", "n": "y"}[o.always])
					accept(false, short, name+"=frob")
				}
			})
		}
	}
	if len(letters) != 5 {
		t.Errorf("groups %v, want five", letters)
	}
}

// TestForeignNotes holds what --verbose says of options without effect.
func TestForeignNotes(t *testing.T) {
	got := inProcess(t, nil, "run", "--verbose", "-O", "opt-level=2,memory-init-cow=y", "-C", "compiler=winch", "-W", "simd", guest)
	for _, want := range []string{"-O opt-level is", "-O memory-init-cow is", "-C compiler is"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("got %q, want %q in it", got.stderr, want)
		}
	}
	if strings.Contains(got.stderr, "simd") {
		t.Errorf("got %q: simd has an effect", got.stderr)
	}
}
