package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// elsewhere says what to do in place of flags that other runtimes have.
var elsewhere = map[string]string{
	"preload":           "one module is run: link others into it",
	"allow-precompiled": "give the module itself; its compiled code is kept by itself",
	"profile":           "see --report, --summary and --verbose for where the time goes",
	"config":            "CLONECLOUD_CONFIG=FILE names the configuration file",
	"wasm-timeout":      "it is --timeout",
	"mapdir":            "it is --dir HOST::GUEST",
	"tcplisten":         "programs have no sockets",
	"listen":            "programs have no sockets",
	"env-inherit":       "it is -S inherit-env",
	"cachedir":          "XDG_CACHE_HOME names the folder; see clonecloud paths",
	"interpreter":       "it is --engine interpreter",
	"disable-cache":     "it is --no-cache",
}

// flagError says in one line what is wrong with a flag, and what is wanted.
func flagError(flags *pflag.FlagSet, err error) string {
	var (
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &unknown):
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			return fmt.Sprintf("no flag -%.1s", unknown.GetSpecifiedName())
		}
		return noFlag(flags, unknown.GetSpecifiedName())
	case errors.As(err, &value):
		f := value.GetFlag()
		if _, ok := f.Value.(foreign); ok {
			return fmt.Sprintf("%s %v", flagName(f), value.Unwrap()) // which names the option
		}
		return fmt.Sprintf("%s %q: %s", flagName(f), value.GetValue(), wanted(f, value.Unwrap()))
	case errors.As(err, &missing):
		what, _ := pflag.UnquoteUsage(missing.GetFlag())
		return fmt.Sprintf("%s needs a value: %s", flagName(missing.GetFlag()), what)
	}
	return err.Error()
}

func noFlag(flags *pflag.FlagSet, name string) string {
	if hint, ok := elsewhere[name]; ok {
		return fmt.Sprintf("no flag --%s: %s", name, hint)
	}
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("no flag --%s; do you mean --%s?", name, near)
	}
	return "no flag --" + name
}

// flagName is a flag as people write it: by its letter where it has one.
func flagName(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// wanted says what a flag's value should be, in place of what package strconv says of it.
func wanted(f *pflag.Flag, err error) string {
	switch f.Value.Type() {
	case "bool":
		return "true or false is wanted"
	case "int", "uint64":
		return "a whole number is wanted"
	case "duration":
		return "a time is wanted, such as 500ms, 2s or 1m30s"
	}
	return err.Error()
}

// size is a flag of a number of bytes.
type size uint64

var sizeUnits = []struct {
	name string
	unit uint64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

func (s *size) Set(text string) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
		if err != nil || n == 0 || n > (1<<62)/u.unit {
			break
		}
		*s = size(n * u.unit)
		return nil
	}
	return errors.New("a number of bytes is wanted, such as 512MiB, 2GiB or 100000")
}

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*s), 10)
}

func (*size) Type() string { return "size" }

// limit is a flag of how long something may take: seconds if it has no unit. 0 is no limit.
type limit time.Duration

func (l *limit) Set(text string) error {
	d, err := time.ParseDuration(text)
	if n, e := strconv.ParseUint(text, 10, 31); e == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return errors.New("a time above 0 is wanted: seconds, or such as 500ms or 1m30s")
	}
	*l = limit(d)
	return nil
}

func (l *limit) String() string {
	if *l == 0 {
		return ""
	}
	return time.Duration(*l).String()
}

func (*limit) Type() string { return "time" }
