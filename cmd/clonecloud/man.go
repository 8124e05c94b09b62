package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a manual page for each command into a folder",
		Long:   "Write a manual page for each command into a folder, dated SOURCE_DATE_EPOCH if that is set, else not at all.",
		Hidden: true,
		Args:   exactly(1, "name a folder"),
		RunE:   func(cmd *cobra.Command, args []string) error { return runMan(cmd.Root(), args[0]) },
	}
}

func runMan(root *cobra.Command, dir string) error {
	date := ""
	if v := os.Getenv("SOURCE_DATE_EPOCH"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH %q: seconds since 1970 are wanted", v)
		}
		date = time.Unix(n, 0).UTC().Format("2006-01-02")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	var errs []error
	visible(root, func(cmd *cobra.Command) {
		path := filepath.Join(dir, pageName(cmd)+".1")
		if err := os.WriteFile(path, []byte(manPage(cmd, date)), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("write manual pages: %w", err))
		}
	})
	return errors.Join(errs...)
}

// visible calls f for a command and all below it that are not hidden.
func visible(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			visible(c, f)
		}
	}
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// roff escapes text for a manual page.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// paragraphs writes text with its lines as they are, none of which is taken for a request.
func paragraphs(b *strings.Builder, text string) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		line = roff(line)
		switch {
		case line == "":
			b.WriteString(".PP\n")
			continue
		case strings.HasPrefix(line, "."):
			line = `\&` + line
		}
		b.WriteString(line + "\n")
	}
}

// literal writes text that keeps its form.
func literal(b *strings.Builder, text string) {
	b.WriteString(".nf\n")
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		if line = roff(line); strings.HasPrefix(line, ".") {
			line = `\&` + line
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(".fi\n")
}

// manPage is the page of a command.
func manPage(cmd *cobra.Command, date string) string {
	cmd.InitDefaultHelpFlag()
	b := &strings.Builder{}
	fmt.Fprintf(b, ".TH \"%s\" 1 \"%s\" \"\" \"CloneCloud manual\"\n", strings.ToUpper(roff(pageName(cmd))), date)
	fmt.Fprintf(b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	if cmd.Runnable() {
		fmt.Fprintf(b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(cmd.CommandPath()), roff(strings.TrimSpace(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath()))))
	}
	b.WriteString(".SH DESCRIPTION\n")
	if topic := !cmd.Runnable() && !cmd.HasSubCommands(); topic || cmd.Parent() != nil && cmd.Parent().Name() == "completion" {
		literal(b, cmd.Long) // tables and commands
	} else if cmd.Long != "" {
		paragraphs(b, cmd.Long)
	} else {
		paragraphs(b, cmd.Short+".")
	}
	if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
		flags.VisitAll(func(f *pflag.Flag) { manFlag(b, f) })
	}
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n")
		literal(b, cmd.Example)
	}
	if pages := related(cmd); len(pages) > 0 {
		fmt.Fprintf(b, ".SH \"SEE ALSO\"\n%s\n", strings.Join(pages, ",\n"))
	}
	return b.String()
}

func manFlag(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	name := `\fB` + roff("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		name = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + name
	}
	if value != "" {
		name += ` \fI` + roff(value) + `\fR`
	}
	fmt.Fprintf(b, ".TP\n%s\n%s\n", name, roff(usage))
	if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && d != "0s" {
		fmt.Fprintf(b, "(default %s)\n", roff(d))
	}
}

// related lists the pages of the command above and of those below.
func related(cmd *cobra.Command) []string {
	var list []*cobra.Command
	if cmd.HasParent() {
		list = append(list, cmd.Parent())
	}
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			list = append(list, c)
		}
	}
	var pages []string
	for _, c := range list {
		pages = append(pages, `\fB`+roff(pageName(c))+`\fR(1)`)
	}
	return pages
}
