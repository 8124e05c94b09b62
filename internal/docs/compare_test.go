package docs

import (
	"regexp"
	"strings"
	"testing"
)

// wild stands for any lines, or within a line for any text.
const wild = "..."

// changing are the parts of an output that differ from run to run, and what stands for them when outputs are compared.
var changing = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`clonecloud://\S+`), "ADDRESS"},
	{regexp.MustCompile(`\b[0-9a-f]{12,}\b`), "HASH"},
	{regexp.MustCompile(`\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?`), "DATE"},
	{regexp.MustCompile(`(\[[0-9a-f]*:[0-9a-f:]*\]|\b[0-9]{1,3}(\.[0-9]{1,3}){3})(:[0-9]+)?`), "HOST"},
	// What it is built of and for, and what the machine has.
	{regexp.MustCompile(`^clonecloud (devel|v[0-9]+\.)[^(]*\(`), "clonecloud VERSION ("},
	{regexp.MustCompile(`\bgo[0-9][0-9a-z.]*`), "go"},
	{regexp.MustCompile(`\b((linux|darwin)/)?(amd64|arm64)\b`), "ARCH"},
	{regexp.MustCompile(`: (userfaultfd|compare)$`), ": TRACKER"},
	// Numbers with what may follow as a unit: 1m2.5s, 12.3 ms, 4.5 MiB, 1,234.
	{regexp.MustCompile(`-?\b([0-9][0-9.]*(ms|us|\x{b5}s|ns|h|m|s))+\b`), "N"},
	{regexp.MustCompile(`-?\b([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?(e[+-][0-9]+)?\s?((ms|us|\x{b5}s|ns|s|min|h|B|bytes?|[kMG]B|[KMG]iB|k|M)\b)?`), "N"},
}

var blanks = regexp.MustCompile(`\s+`)

// normal is a line without what changes; columns move with their contents, so blanks count as one.
func normal(line string, exact bool) string {
	if exact {
		return line
	}
	for _, c := range changing {
		line = c.form.ReplaceAllString(line, c.as)
	}
	return strings.TrimSpace(blanks.ReplaceAllString(line, " "))
}

// matches tells whether an output is as a page has it.
func matches(want, got []string, exact bool) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if strings.TrimSpace(want[0]) == wild {
		for n := 0; n <= len(got); n++ {
			if matches(want[1:], got[n:], exact) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && lineMatches(want[0], got[0], exact) && matches(want[1:], got[1:], exact)
}

func lineMatches(want, got string, exact bool) bool {
	got = normal(got, exact)
	parts := strings.Split(want, wild)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(normal(p, exact))
	}
	return regexp.MustCompile("^" + strings.Join(parts, `.*`) + "$").MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name, want, got string
		exact, equal    bool
	}{
		{"same", "a\nb", "a\nb", false, true},
		{"number", "took 1.5 ms", "took 2 s", false, true},
		{"exact_number", "348513", "348514", true, false},
		{"duration", "after 1m2.5s", "after 300ms", false, true},
		{"thousands", "1,234 calls", "5 calls", false, true},
		{"bytes", "80 bytes up", "1.5 MiB up", false, true},
		{"columns", "a    b", "a b", false, true},
		{"word", "1 call", "2 offloads", false, false},
		{"host", "listening on 127.0.0.1:7311", "listening on [::]:40000", false, true},
		{"address", "clonecloud://a:1/?token=x&cert=y", "clonecloud://b:2/?token=z", false, true},
		{"hash", "module 0123456789abcdef", "module fedcba9876543210", false, true},
		{"missing_line", "a\nb", "a", false, false},
		{"further_line", "a", "a\nb", false, false},
		{"no_output", "", "a", false, false},
		{"wild_lines", "a\n...\nd", "a\nb\nc\nd", false, true},
		{"wild_no_lines", "a\n...\nd", "a\nd", false, true},
		{"wild_at_end", "a\n...", "a\nb", false, true},
		{"wild_then_other", "a\n...\nd", "a\nb\nc", false, false},
		{"wild_in_line", "say ... twice", "say this, twice", false, true},
		{"wild_in_line_other", "say ... twice", "say this once", false, false},
		{"version", "clonecloud v1.0.0 (go1.26.8, linux/amd64)", "clonecloud devel 0123456789ab (go1.27rc1, darwin/arm64)", false, true},
		{"other_program", "clonecloud v1.0.0 (go1.26.8)", "wasmtime v1.0.0 (go1.26.8)", false, false},
		{"letter_and_digits", "sha256", "sha1", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := matches(outputLines(c.want), outputLines(c.got), c.exact); got != c.equal {
				t.Errorf("matches(%q, %q) = %v", c.want, c.got, got)
			}
		})
	}
}
