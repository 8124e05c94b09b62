package main

import (
	"fmt"
	"os"

	"github.com/clonecloud/clonecloud"
)

// traceFile is where the trace of a run goes. It is opened before the run, so that a wrong name costs no run.
type traceFile struct {
	f *os.File
	w *clonecloud.TraceWriter
}

// openTrace begins a trace; "" for none. A trace that cannot be written any more is told of by log.
func openTrace(path string, log func(format string, args ...any)) (*traceFile, error) {
	if path == "" {
		return &traceFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--trace: %w", err)
	}
	w, err := clonecloud.NewTraceWriter(f, func(err error) { log("write trace %s: %v", path, err) })
	if err != nil {
		f.Close()
		return nil, err
	}
	return &traceFile{f, w}, nil
}

// events adds the trace to who listens already.
func (t *traceFile) events(listener func(clonecloud.Event)) func(clonecloud.Event) {
	if t.w == nil {
		return listener
	}
	return clonecloud.JoinEvents(listener, t.w.Emit)
}

// close writes what is left; that it cannot be written has been told.
func (t *traceFile) close() {
	if t.w == nil {
		return
	}
	_ = t.w.Close()
	t.f.Close()
}
