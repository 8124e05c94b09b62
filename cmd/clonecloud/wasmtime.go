package main

import (
	"errors"
	"fmt"
	"strings"
)

// foreignOption is an option of wasmtime's -W, -S, -O, -C and -D.
type foreignOption struct {
	name string
	set  func(o *runOptions, value string) error // what it does here; nil: nothing
	// always is the one value ("y" or "n") that says what is so here anyway; "": any value is taken, since the option only
	// tunes wasmtime's own machinery.
	always string
	refuse string // why it cannot be had
}

// foreignGroups are wasmtime's groups of options, by the letter of their flag.
var foreignGroups = []struct {
	letter, flag, usage string
	options             []foreignOption
}{
	{"W", "wasm", "as wasmtime's -W, `OPT[=VAL],...`: timeout=TIME, max-memory-size=BYTES, features by name", append([]foreignOption{
		{name: "timeout", set: func(o *runOptions, v string) error { return o.timeout.Set(v) }},
		{name: "max-memory-size", set: func(o *runOptions, v string) error { return o.maxMemory.Set(v) }},
		{name: "fuel", refuse: "instructions are not counted: --timeout bounds a run"},
		{name: "max-wasm-stack", refuse: "the stack has one size, the same on device and clone"},
		{name: "nan-canonicalization", always: "n"}, {name: "trap-on-grow-failure", always: "n"},
		{name: "unknown-imports-trap", always: "n"}, {name: "unknown-imports-default", always: "n"}, {name: "wmemcheck", always: "n"},
	}, append(append(always("y", "bulk-memory", "multi-value", "reference-types", "simd", "tail-call", "threads", "extended-const",
		"exceptions", "function-references"),
		always("n", "component-model", "component-model-async", "gc", "memory64", "multi-memory", "relaxed-simd", "custom-page-sizes",
			"wide-arithmetic", "stack-switching", "shared-everything-threads", "all-proposals")...),
		always("", "epoch-interruption", "unknown-exports-allow", "async-stack-size", "async-stack-zeroing", "relaxed-simd-deterministic")...)...)},
	{"S", "wasi", "as wasmtime's -S, `OPT[=VAL],...`: inherit-env, cli", append([]foreignOption{
		{name: "inherit-env", set: func(o *runOptions, v string) (err error) { o.inheritEnv, err = yes(v); return err }},
		{name: "tcplisten", refuse: "programs have no sockets"},
		{name: "nn-graph", refuse: "there is no wasi-nn"},
	}, append(append(always("y", "cli", "common", "preview0"),
		always("n", "threads", "nn", "http", "config", "keyvalue", "tcp", "udp", "inherit-network", "allow-ip-name-lookup", "listenfd", "p3", "tls")...),
		always("", "preview2", "cli-exit-with-code", "network-error-code")...)...)},
	{"O", "optimize", "as wasmtime's -O, `OPT[=VAL],...`: taken, without effect", always("", "opt-level", "regalloc-algorithm", "memory-may-move",
		"memory-reservation", "memory-reservation-for-growth", "memory-guard-size", "guard-before-linear-memory", "memory-init-cow",
		"memory-guaranteed-dense-image-size", "table-lazy-init", "signals-based-traps", "static-memory-maximum-size", "static-memory-forced",
		"static-memory-guard-size", "dynamic-memory-guard-size", "dynamic-memory-reserved-for-growth", "pooling-*")},
	{"C", "codegen", "as wasmtime's -C, `OPT[=VAL],...`: cache=n; the rest is without effect", append([]foreignOption{
		{name: "cache", set: func(o *runOptions, v string) error {
			keep, err := yes(v)
			o.noCache = o.noCache || err == nil && !keep
			return err
		}},
	}, always("", "cache-config", "compiler", "collector", "parallel-compilation", "pcc", "native-unwind-info", "inlining", "cranelift-*")...)},
	{"D", "debug", "as wasmtime's -D, `OPT[=VAL],...`: debug-info, address-map, logging, without effect", append([]foreignOption{
		{name: "coredump", refuse: "no core dumps are made"},
	}, append(always("", "debug-info", "address-map", "logging"), always("n", "guest-debug", "log-to-files")...)...)},
}

func always(value string, names ...string) []foreignOption {
	var all []foreignOption
	for _, n := range names {
		all = append(all, foreignOption{name: n, always: value})
	}
	return all
}

// yes reads wasmtime's booleans.
func yes(v string) (bool, error) {
	switch v {
	case "", "y", "yes", "true", "on":
		return true, nil
	case "n", "no", "false", "off":
		return false, nil
	}
	return false, errors.New("y or n is wanted")
}

// foreign is the flag of one of wasmtime's groups.
type foreign struct {
	o     *runOptions
	group int
}

func (foreign) String() string { return "" }
func (foreign) Type() string   { return "options" }

// Set takes OPT[=VAL],... and has it take effect.
func (f foreign) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		if err := f.take(name, value); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

func (f foreign) take(name, value string) error {
	g := foreignGroups[f.group]
	var names []string
	for _, opt := range g.options {
		prefix, open := strings.CutSuffix(opt.name, "*")
		if name != opt.name && (!open || !strings.HasPrefix(name, prefix)) {
			names = append(names, opt.name)
			continue
		}
		switch {
		case opt.refuse != "":
			return errors.New(opt.refuse)
		case opt.set != nil:
			return opt.set(f.o, value)
		case opt.always != "":
			on, err := yes(value)
			if err == nil && on != (opt.always == "y") {
				err = fmt.Errorf("here it is always %s", opt.always)
			}
			return err
		}
		f.o.notes = append(f.o.notes, fmt.Sprintf("-%s %s is wasmtime's and has no effect here", g.letter, name))
		return nil
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("no such option; do you mean %s?", near)
	}
	return errors.New("no such option, or none that is known here")
}
