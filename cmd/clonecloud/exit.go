package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// Exit codes of our own; a guest's pass through.
const (
	exitDiffers     = 1   // demo: the outputs differ
	exitConflict    = 123 // files were changed on the device and on the clone
	exitDiverged    = 124 // a fallback did not repeat what its clone had done
	exitFailed      = 125 // clonecloud itself failed, or was used wrongly
	exitCannotRun   = 126 // not a module, or one that cannot run here
	exitNotFound    = 127 // the module's file is not there
	exitInterrupted = 130 // ctrl-C
	exitTrap        = 134 // the guest trapped, or its time is over
	exitTerminated  = 143 // SIGTERM
)

// exitCodes is the table of the manual and of `clonecloud help exit-codes`.
var exitCodes = []struct{ code, meaning string }{
	{"0-255", "the program's own. Of a larger code the operating system keeps the low 8 bits, as for any program (on Windows all 32)."},
	{code(exitDiffers), "`demo`: the runs differed, or found something else than the input was made for"},
	{code(exitConflict), "`run`: files were changed by others while a clone changed them; where both versions stand is said on standard error and in the report. Of a program that ends with 0; with `--conflict fail` of every one."},
	{code(exitDiverged), "a function that was started again after its clone was lost did not repeat what it had done; what it did outside stands, and the run ends"},
	{code(exitFailed), "CloneCloud failed or was used wrongly: flags, the configuration file, folders, functions that are not there, a report that cannot be written, a cloud that does not answer `cloud status` or `sync`, damage that `cloud check` found"},
	{code(exitCannotRun), "the module cannot be run: malformed, invalid, text or a component, wants an import or a memory that is not there, has no such export, takes other arguments"},
	{code(exitNotFound), "the module's file is not there"},
	{code(exitInterrupted), "ended by ctrl-C"},
	{code(exitTrap), "the program trapped, threw an exception that nothing caught, or ran longer than `--timeout` says. `call stack exhausted` is endless recursion."},
	{code(exitTerminated), "ended by SIGTERM"},
}

func code(n int) string { return fmt.Sprint(n) }

// newExitCodesTopic is the table as a topic of help.
func newExitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("The exit code of clonecloud run is the program's own, but for these. Each of ours but 130 and 143 comes with\none line on standard error, which tells it from the same code of a program.\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range exitCodes {
		for i, line := range wrap(strings.ReplaceAll(e.meaning, "`", ""), 100) {
			if i > 0 {
				e.code = ""
			}
			fmt.Fprintf(w, "  %s\t%s\n", e.code, line)
		}
	}
	w.Flush()
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: strings.TrimRight(b.String(), "\n")}
}

// wrap breaks a text into lines of at most n bytes, where it has blanks.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > n {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// outcome maps how a command ended to an exit code and the line that says what went wrong, "" if nothing is to say.
func outcome(err error) (int, string) {
	if err == nil {
		return 0, ""
	}
	var sig interrupted
	if errors.As(err, &sig) {
		return sig.code(), ""
	}
	var (
		exit   *clonecloud.ExitError
		trap   *clonecloud.Trap
		exc    *clonecloud.Exception
		late   timeoutError
		report reportError
		differ differsError
	)
	switch {
	case errors.As(err, new(*conflicts)), errors.Is(err, clonecloud.ErrConflict):
		return exitConflict, oneLine(err)
	case errors.Is(err, clonecloud.ErrDiverged):
		return exitDiverged, oneLine(err)
	case errors.As(err, &late):
		return exitTrap, oneLine(err)
	case errors.As(err, &exit):
		if errors.As(err, &report) {
			return int(exit.Code), oneLine(report)
		}
		return int(exit.Code), ""
	case errors.As(err, &trap), errors.As(err, &exc):
		return exitTrap, oneLine(err)
	case errors.Is(err, clonecloud.ErrModule), errors.Is(err, clonecloud.ErrInvoke):
		return exitCannotRun, oneLine(err)
	case errors.Is(err, errNoModule):
		return exitNotFound, oneLine(err)
	case errors.As(err, &differ):
		return exitDiffers, oneLine(err)
	}
	return exitFailed, oneLine(err)
}

// oneLine is an error's text in one line: joined errors have one each.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// complain writes what went wrong, for people or as JSON.
func complain(stderr io.Writer, asJSON bool, code int, text string) {
	if text == "" {
		return
	}
	if !asJSON {
		fmt.Fprintln(stderr, "clonecloud: "+text)
		return
	}
	type fault struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	fmt.Fprintln(stderr, oneLineJSON(struct {
		Version int   `json:"version"`
		Error   fault `json:"error"`
	}{errorVersion, fault{code, text}}))
}

// errorVersion is the schema version of errors in JSON.
const errorVersion = 1

// wantsJSON tells whether a command was asked for JSON, also where its flags could not be read to the end.
func wantsJSON(cmd *cobra.Command, args []string) bool {
	if cmd == nil {
		return false
	}
	f := cmd.Flags().Lookup("json")
	if f == nil {
		return false
	}
	if f.Changed {
		return f.Value.String() == "true"
	}
	for _, a := range args {
		if a == "--" {
			break
		}
		if a == "--json" || a == "--json=true" {
			return true
		}
	}
	return false
}
