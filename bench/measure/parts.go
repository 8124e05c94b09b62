package measure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
)

// Part is one of the measurements of a command whose options are an O.
type Part[O any] struct {
	Name, Title string
	Run         func(ctx context.Context, o O) ([]*Table, error)
}

// Parts are all measurements of a command, in the order in which they run.
type Parts[O any] []Part[O]

// Usage returns what flag.Usage is to be: the parts, and the flags.
func (ps Parts[O]) Usage(command string) func() {
	return func() {
		w := flag.CommandLine.Output()
		fmt.Fprintf(w, "usage: %s [flags] [PART ...]\n\nParts (all if none is named):\n", command)
		for _, p := range ps {
			fmt.Fprintf(w, "  %-10s %s\n", p.Name, p.Title)
		}
		fmt.Fprintln(w, "\nFlags:")
		flag.PrintDefaults()
	}
}

// Check tells whether all names are those of parts.
func (ps Parts[O]) Check(names []string) error {
	for _, n := range names {
		if !slices.ContainsFunc(ps, func(p Part[O]) bool { return p.Name == n }) {
			return fmt.Errorf("no part %q; see --help", n)
		}
	}
	return nil
}

// Run runs the parts with these names, all if there are none. Tables are printed as they come, those of a part that failed
// too if they have rows; or all together as JSON, when nothing failed.
func (ps Parts[O]) Run(ctx context.Context, o O, names []string, to io.Writer, asJSON bool) error {
	all := []*Table{}
	for _, p := range ps {
		if len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		ts, err := p.Run(ctx, o)
		for _, t := range ts {
			if !asJSON && len(t.Rows) > 0 {
				err = errors.Join(err, t.Print(to))
			}
			all = append(all, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	if asJSON {
		return WriteJSON(to, all)
	}
	return nil
}
