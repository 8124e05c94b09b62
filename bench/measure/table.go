// Package measure is what commands that measure have in common: tables of figures, and medians of ratios with bounds.
package measure

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Table is what one part of a command measured. It is printed as Markdown.
type Table struct {
	Name    string           `json:"name"`
	Title   string           `json:"title"`
	Columns []string         `json:"columns"`
	Rows    []map[string]any `json:"rows"`
	Notes   []string         `json:"notes,omitempty"`

	// Progress, if not nil, is told of each row as it comes: a table takes long to fill.
	Progress io.Writer `json:"-"`
}

// NewTable returns a table without rows.
func NewTable(name, title string, columns ...string) *Table {
	return &Table{Name: name, Title: title, Columns: columns, Rows: []map[string]any{}}
}

// Add adds a row: a value for each column, in their order.
func (t *Table) Add(values ...any) {
	if len(values) != len(t.Columns) {
		panic(fmt.Sprintf("BUG: table %s has %d columns and a row of %d values", t.Name, len(t.Columns), len(values)))
	}
	row := map[string]any{}
	for i, v := range values {
		row[t.Columns[i]] = v
	}
	t.Rows = append(t.Rows, row)
	if t.Progress != nil {
		fmt.Fprintf(t.Progress, "%s: %v\n", t.Name, values)
	}
}

// Note adds a line that stands below the table.
func (t *Table) Note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// Print writes the table.
func (t *Table) Print(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n\n", t.Name, t.Title)
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| "+strings.Join(t.Columns, "\t| ")+"\t|")
	fmt.Fprintln(w, "|"+strings.Repeat("---\t|", len(t.Columns)))
	for _, r := range t.Rows {
		for _, c := range t.Columns {
			fmt.Fprintf(w, "| %s\t", Text(r[c]))
		}
		fmt.Fprintln(w, "|")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// Text shows a value as a table does: of a fraction three digits, or all before the point.
func Text(v any) string {
	f, ok := v.(float64)
	switch {
	case !ok:
		return fmt.Sprint(v)
	case f >= 99.95 || f <= -99.95:
		return fmt.Sprintf("%.0f", f)
	case f >= 9.995 || f <= -9.995:
		return fmt.Sprintf("%.1f", f)
	case f == 0:
		return "0"
	}
	return fmt.Sprintf("%.3f", f)
}

// WriteJSON writes tables with what they were measured on.
func WriteJSON(to io.Writer, tables []*Table) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"version": 1, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(), "tables": tables,
	})
}
