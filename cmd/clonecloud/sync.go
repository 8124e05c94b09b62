package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecloud/clonecloud"
)

// syncOptions are the flags of sync.
type syncOptions struct {
	cloud    string
	maxBytes size
	rate     size
	used     bool
	json     bool
}

func newSyncCommand() *cobra.Command {
	var o syncOptions
	cmd := &cobra.Command{
		Use:   "sync [flags] DIR...",
		Short: "Bring directories to a cloud ahead of need",
		Long: `Bring directories to a cloud ahead of need, so that programs which run there find their files. Files that programs used
before go first. What the cloud has is not sent again; after a cut, or when it was ended, a repetition goes on from there.`,
		Example: `  clonecloud sync --cloud home ~/data`,
		Args:    someDirs,
		RunE:    func(cmd *cobra.Command, args []string) error { return runSync(cmd, &o, args) },

		ValidArgsFunction: folders,
	}
	f := cmd.Flags()
	f.StringVar(&o.cloud, "cloud", "", "`where` to: a cloud that was added, or an address")
	f.Var(&o.maxBytes, "max-bytes", "send at most so many bytes, e.g. 100MB; a repetition goes on from there")
	f.Var(&o.rate, "rate", "send at most so many bytes a second, e.g. 500kB")
	f.BoolVar(&o.used, "used", false, "bring only files that programs on a clone have used before")
	addJSON(cmd, &o.json)
	complete(cmd, "cloud", completeClouds(0))
	return cmd
}

// someDirs wants directories as arguments.
func someDirs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError{cmd, cmd.Name() + ": name a directory"}
	}
	return nil
}

// syncCloud opens the cloud of --cloud, or of the configuration file.
func syncCloud(cmd *cobra.Command, name string) (clonecloud.Cloud, error) {
	flag := "--cloud"
	if name == "" {
		all, err := readConfig()
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.key == "cloud" {
				name, flag = s.text, s.place+": cloud"
			}
		}
	}
	switch name {
	case "":
		return nil, usageError{cmd, cmd.Name() + ": --cloud is needed: the name of a cloud, or an address"}
	case "local":
		return nil, usageError{cmd, flag + " local: a local cloud ends with its command, and what was brought there with it: name another"}
	}
	return openCloud(cmd, flag, name)
}

// runSync brings directories to a cloud.
func runSync(cmd *cobra.Command, o *syncOptions, dirs []string) error {
	cloud, err := syncCloud(cmd, o.cloud)
	if err != nil {
		return err
	}
	defer cloud.Close()
	ctx, stop := endedBySignal(cmd.Context())
	defer stop()
	show := openLine(cmd.ErrOrStderr())
	log := show.log
	if o.json {
		show.close()
		log = nodeLog(cmd.ErrOrStderr(), true)
	}
	rep, err := clonecloud.SyncFiles(ctx, clonecloud.SyncConfig{
		Dirs: dirs, Cloud: cloud, FilesDir: filesDir(), MaxBytes: uint64(o.maxBytes), Rate: uint64(o.rate), UsedOnly: o.used,
		Progress: show.progress, Log: log,
	})
	show.close()
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, cause) {
		log("it was ended; a repetition goes on from there")
	}
	return errors.Join(err, writeSync(cmd.OutOrStdout(), rep, o.json))
}

// endedBySignal returns a context that ends at ctrl-C or SIGTERM, with interrupted. A second signal ends the process.
func endedBySignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{})
	go func() {
		select {
		case s := <-c:
			cancel(interrupted{s})
			select {
			case s = <-c:
			case <-time.After(signalPatience): // it cannot be ended neatly
			case <-over:
				return
			}
			again(s)
		case <-over:
		}
	}()
	return ctx, func() {
		signal.Stop(c)
		close(over)
		cancel(nil)
	}
}

// writeSync says what came of it.
func writeSync(w io.Writer, rep *clonecloud.SyncReport, asJSON bool) error {
	if asJSON {
		return writeJSON(w, rep)
	}
	for i := range rep.Dirs {
		if _, err := fmt.Fprintln(w, syncText(&rep.Dirs[i])); err != nil {
			return err
		}
	}
	return nil
}

// syncText says in a line what became of a directory.
func syncText(d *clonecloud.SyncDir) string {
	var parts []string
	add := func(n int, one, many string) {
		if n == 1 {
			parts = append(parts, "1 "+one)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	parts = append(parts, fmt.Sprintf("%s sent, %d pieces were there already", bytesText(d.Sent), d.Here))
	add(d.Changed, "file changed meanwhile or cannot be read", "files changed meanwhile or cannot be read")
	add(d.Skipped, "file stays here", "files stay here")
	add(d.Dropped, "piece was not kept", "pieces were not kept")
	switch {
	case d.Over:
		parts = append(parts, "--max-bytes is reached: a repetition goes on from there")
	case d.Done:
		parts = append(parts, "all is there")
	}
	return fmt.Sprintf("%s: %d of %d files, %s", printable(d.Dir), d.Files-d.Changed, d.FilesTotal, strings.Join(parts, ", "))
}

// line shows on a terminal how far something is. Elsewhere it shows nothing.
type line struct {
	w io.Writer

	mu    sync.Mutex
	out   *os.File  // guarded by mu; nil: no terminal, or closed
	drawn int       // guarded by mu; columns
	at    time.Time // guarded by mu; of the last drawing
}

func openLine(stderr io.Writer) *line {
	l := &line{w: stderr}
	if f, ok := stderr.(*os.File); ok && f != nil && os.Getenv("TERM") != "dumb" {
		if _, ok := columns(f); ok {
			l.out = f
		}
	}
	return l
}

// progress draws how far it is, not too often.
func (l *line) progress(p clonecloud.SyncProgress) { l.show(progressText(p)) }

// show draws a text, not too often.
func (l *line) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.out == nil || now.Sub(l.at) < screenEvery {
		return
	}
	l.at = now
	l.draw(text)
}

func progressText(p clonecloud.SyncProgress) string {
	dir := printable(p.Dir)
	if p.Reading {
		return fmt.Sprintf("clonecloud: %s: reading what is new: %d files, %s", dir, p.Files, bytesText(p.Bytes))
	}
	return fmt.Sprintf("clonecloud: %s: %d of %d files, %s of %s, %s sent", dir, p.Files, p.FilesTotal, bytesText(p.Bytes), bytesText(p.BytesTotal), bytesText(p.Sent))
}

// draw replaces what is shown. mu is held.
func (l *line) draw(text string) {
	width, ok := columns(l.out)
	if !ok {
		return
	}
	show := []rune(text)
	show = show[:min(len(show), max(cmp.Or(width, 80)-1, 0))]
	rest := max(l.drawn-len(show), 0)
	if _, err := fmt.Fprintf(l.out, "\r%s%s", string(show), strings.Repeat(" ", rest)); err == nil {
		l.drawn = len(show)
	}
}

// erase removes what is shown. mu is held.
func (l *line) erase() {
	if l.out != nil && l.drawn > 0 {
		fmt.Fprintf(l.out, "\r%s\r", strings.Repeat(" ", l.drawn))
		l.drawn = 0
	}
}

// log writes a line of its own.
func (l *line) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	fmt.Fprintf(l.w, "clonecloud: %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// close shows no more.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.out = nil
}
