package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	api "github.com/clonecloud/clonecloud"
	"github.com/clonecloud/clonecloud/internal/delta"
	"github.com/clonecloud/clonecloud/internal/inspect"
	"github.com/clonecloud/clonecloud/internal/learned"
	"github.com/clonecloud/clonecloud/internal/node/control"
	"github.com/clonecloud/clonecloud/internal/remote"
	"github.com/clonecloud/clonecloud/internal/trace"
	"github.com/clonecloud/clonecloud/internal/wire"
)

// fieldNames gives the names that a struct has in JSON, those of embedded structs among them.
func fieldNames(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			all = append(all, fieldNames(f.Type)...)
		case f.IsExported() && name != "-":
			all = append(all, name)
		}
	}
	return all
}

// inList gives the names of the elements of a list, as the page writes them.
func inList(t reflect.Type) []string {
	names := fieldNames(t)
	for i, n := range names {
		names[i] = "functions[]." + n
	}
	return names
}

// TestFields compares the tables of formats.md with the structs that are written.
func TestFields(t *testing.T) {
	page := readPage(t, "docs/formats.md")
	of := func(v any) []string { return fieldNames(reflect.TypeOf(v)) }
	for _, c := range []struct {
		heading string
		want    []string
	}{
		{"Report", slices.Concat(of(api.Report{}), inList(reflect.TypeFor[api.FunctionReport]()))},
		{"Figures of inspect", of(inspect.Summary{})},
		{"Report of sync", of(api.SyncReport{})},
		{"Report of cloud check", of(api.CheckReport{})},
		{"What runs have learned", slices.Concat(of(remote.Facts{}), of(learned.Figures{}), inList(reflect.TypeFor[learned.Function]()),
			[]string{"version", "last", "by_args"})},
		{"Address and files of a cloud", []string{"version", "address"}},
		{"Status of a node", slices.Concat(of(api.NodeStatus{}), control.Reasons)},
	} {
		t.Run(strings.ReplaceAll(c.heading, " ", "_"), func(t *testing.T) {
			same(t, firstCells(page.section(t, c.heading)), c.want)
		})
	}
	// Those of objects within stand in the text of their row.
	for row, v := range map[string]any{
		"`time`": inspect.Times{}, "`link`": inspect.Link{}, "`functions`": inspect.Function{}, "`fallback_list`": inspect.Fallback{},
	} {
		inRow(t, page.section(t, "Figures of inspect"), row, of(v))
	}
	inRow(t, page.section(t, "Status of a node"), "`limits`", of(control.Limits{}))
	inRow(t, page.section(t, "Report of sync"), "`dirs`", append(of(api.SyncDir{}), "--max-bytes"))
}

// inRow requires that the row which begins with a cell names all of some fields, and no others.
func inRow(t *testing.T, lines []string, cell string, want []string) {
	t.Helper()
	for _, line := range lines {
		if _, rest, ok := strings.Cut(line, "| "+cell+" | "); ok {
			var got []string
			for _, m := range code.FindAllStringSubmatch(rest, -1) {
				got = append(got, m[1])
			}
			same(t, got, want)
			return
		}
	}
	t.Errorf("no row begins with %s", cell)
}

// same compares names that the page has with those that there are.
func same(t *testing.T, got, want []string) {
	t.Helper()
	for _, d := range difference(want, got) {
		t.Errorf("docs/formats.md: %s is missing", d)
	}
	for _, d := range difference(got, want) {
		t.Errorf("docs/formats.md: there is no %s", d)
	}
}

// TestTraceTables compares the kinds and the fields of events.
func TestTraceTables(t *testing.T) {
	section := readPage(t, "docs/formats.md").section(t, "Trace")
	fields := fieldNames(reflect.TypeFor[trace.Event]())
	kinds := constants(t, "internal/trace/event.go", "Kind")
	if len(kinds) < 25 {
		t.Fatalf("found the kinds %v: these are not all", kinds)
	}
	same(t, firstCells(section), slices.Concat(fields, kinds))
	for _, line := range section {
		if text, ok := strings.CutPrefix(line, "{\"format\""); ok {
			if _, err := trace.NewReader(strings.NewReader("{\"format\"" + text + "\n")); err != nil {
				t.Errorf("the header that the page shows: %v", err)
			}
		}
	}
	for what, n := range map[string]string{"single events": strconv.Itoa(trace.SameEvents), "events in all": thousands(trace.MostEvents), "a reader takes": thousands(trace.MaxEvents)} {
		if !strings.Contains(strings.Join(section, "\n"), n) {
			t.Errorf("docs/formats.md: %s: %s is not there", what, n)
		}
	}
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// constants gives the values of the text constants of a type.
func constants(t *testing.T, file, typ string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == typ && len(v.Values) == 1 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					text, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, text)
				}
			}
		}
		return true
	})
	return all
}

// rows gives the cells of the rows of the tables in some lines.
func rows(lines []string) [][]string {
	var all [][]string
	for _, line := range lines {
		if strings.HasPrefix(line, "| ") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all
}

// numbered gives the rows of a table whose first cell is a number and whose second is a name, as "1 `name` third".
func numbered(lines []string, cells int) []string {
	var all []string
	for _, r := range rows(lines) {
		if _, err := strconv.Atoi(r[0]); err == nil && len(r) > 1 && strings.HasPrefix(r[1], "`") {
			all = append(all, strings.Join(r[:cells], " "))
		}
	}
	return all
}

// TestWireTables compares the numbers of messages, encodings, outcomes, reasons and codes, and what is bounded.
func TestWireTables(t *testing.T) {
	page := readPage(t, "docs/formats.md")
	var messages, encodings []string
	for n := wire.TypeInvalid + 1; !strings.HasPrefix(n.String(), "type "); n++ {
		yes := map[bool]string{true: "yes", false: "no"}[n.Numbered()]
		messages = append(messages, fmt.Sprintf("%d `%v` %s", n, n, yes))
	}
	for e := range delta.NumEncodings {
		encodings = append(encodings, fmt.Sprintf("%d `%v`", e, e))
	}
	if len(messages) < 20 {
		t.Fatalf("found the messages %v: these are not all", messages)
	}
	same(t, numbered(page.section(t, "Messages"), 3), messages)
	same(t, numbered(page.section(t, "Page deltas"), 2), encodings)
	list := func(unknown string, name func(n int) string) string {
		var all []string
		for n := 1; !strings.HasPrefix(name(n), unknown); n++ {
			all = append(all, fmt.Sprintf("%d %s", n, name(n)))
		}
		return strings.Join(all, ", ")
	}
	text := strings.Join(page.lines, " ")
	for _, want := range []string{
		list("outcome ", func(n int) string { return wire.Outcome(n).String() }),
		list("reason ", func(n int) string { return wire.CancelReason(n).String() }),
		list("code ", func(n int) string { return wire.Code(n).String() }),
		fmt.Sprintf("The version of the protocol is %d.", wire.Version),
		fmt.Sprintf("a header of %d bytes", wire.HeaderSize),
		fmt.Sprintf("at most %s bytes", thousands(wire.MaxBody)),
		fmt.Sprintf("At most %d ranges, %d of one function", wire.MaxHostRanges, wire.MaxFuncRanges),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/formats.md: %q is not there", want)
		}
	}
}

// TestExitCodes compares the table of exit codes with that of the manual, which the command's own test holds to the program.
func TestExitCodes(t *testing.T) {
	got := rows(readPage(t, "docs/formats.md").section(t, "Exit codes"))
	want := rows(readPage(t, "docs/manual.md").section(t, "Exit codes"))
	if len(want) < 9 || !reflect.DeepEqual(got, want) {
		t.Errorf("docs/formats.md has %v, docs/manual.md %v", got, want)
	}
}

// TestDeltaLayout reads a stream that is put together as formats.md says.
func TestDeltaLayout(t *testing.T) {
	mem := make([]byte, 1<<16)
	mem[5] = 7
	var b strings.Builder
	base := delta.ID{1}
	if _, _, err := delta.Encode(&b, delta.Header{Base: base, MemoryBytes: 1 << 16, Pages: 2}, mem, slices.Values([]uint32{0, 3}), delta.Options{}); err != nil {
		t.Fatal(err)
	}
	s := []byte(b.String())
	want := slices.Concat([]byte("CCD1"), base[:], []byte{0, 0, 1, 0, 0, 0, 0, 0}, []byte{2, 0, 0, 0},
		[]byte{0, 1, 1}, mem[:delta.PageSize], []byte{2, 0, 1}) // whole, then after a gap of 2 a run of zeros
	if len(s) != len(want)+32 || !reflect.DeepEqual(s[:len(want)], want) {
		t.Errorf("a stream of %d bytes, without the pages: % x", len(s), slices.Concat(s[:51], s[51+delta.PageSize:]))
	}
}

// TestConfigTable compares the keys of formats.md with those of the manual.
func TestConfigTable(t *testing.T) {
	same(t, firstCells(readPage(t, "docs/formats.md").section(t, "Configuration")),
		firstCells(readPage(t, "docs/manual.md").section(t, "Configuration file")))
}

// TestLearnedMean holds the page to how a mean is written.
func TestLearnedMean(t *testing.T) {
	var m learned.Mean
	for _, v := range []float64{1, 2, 3, 6, 7} {
		m.Add(v)
	}
	b, err := json.Marshal(m)
	if want := `{"v":4,"n":5}`; err != nil || string(b) != want { // a mean of 3, then a quarter of the way to 7
		t.Errorf("a mean is %s, %v; want %s", b, err, want)
	}
}
