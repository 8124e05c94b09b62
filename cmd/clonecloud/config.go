package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// configKeys are what may stand in the configuration file: defaults for flags of run, which have the same name with - for _.
var configKeys = []string{
	"audit", "cloud", "conflict", "engine", "files", "keep_local", "max_upload", "no_cache", "offload", "quiet", "summary", "timeout", "verbose", "wait",
}

const (
	configVariable = "CLONECLOUD_CONFIG" // a file, or none
	maxConfig      = 64 << 10
)

// configDir is where this user's settings stand.
func configDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder for settings: %w", err)
	}
	return filepath.Join(dir, "clonecloud"), nil
}

// configPath is the configuration file, "" for none; named says that the environment names it.
func configPath() (path string, named bool) {
	switch v := os.Getenv(configVariable); v {
	case "":
	case "none":
		return "", false
	default:
		return v, true
	}
	dir, err := configDir()
	if err != nil {
		return "", false // without a home there are no settings
	}
	return filepath.Join(dir, "config.toml"), false
}

// setting is a value of the configuration file, as a flag takes it, and where it stands.
type setting struct {
	key   string
	text  string
	list  []string // of keep_local
	place string   // FILE:LINE
}

// readConfig reads the configuration file, if there is one.
func readConfig() ([]setting, error) {
	path, named := configPath()
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named:
		return nil, fmt.Errorf("configuration file %s, which %s names, is not there: make it, or unset the variable", path, configVariable)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the configuration file: %w; %s=none does without it", err, configVariable)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the configuration file: %w; %s=none does without it", err, configVariable)
	case len(b) > maxConfig:
		return nil, fmt.Errorf("configuration file %s is larger than 64 KiB: it is none of clonecloud", path)
	}
	return parseConfig(path, string(b))
}

func parseConfig(path, text string) ([]setting, error) {
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %s: see clonecloud run --help for the flags that may stand there", path, at.Position.Line, at.Message)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []setting
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, s := values[key], setting{key: key, place: place(path, text, key)}
		if !slices.Contains(configKeys, key) {
			return nil, fmt.Errorf("%s: %s", s.place, unknownKey(key))
		}
		if why := s.take(value); why != "" {
			return nil, fmt.Errorf("%s: %s: %s", s.place, key, why)
		}
		all = append(all, s)
	}
	return all, nil
}

func unknownKey(key string) string {
	text := fmt.Sprintf("no key %q", key)
	if near := nearest(strings.ReplaceAll(key, "-", "_"), configKeys); near != "" {
		return text + fmt.Sprintf("; do you mean %s?", near)
	}
	return text + ": there are " + strings.Join(configKeys, ", ")
}

// place finds where a key stands. What looks like the key within a text of several lines may be taken for it.
func place(path, text, key string) string {
	form := regexp.MustCompile(`^\s*\[*\s*["']?` + regexp.QuoteMeta(key) + `["']?\s*[=.\]]`)
	n := 0
	for line := range strings.Lines(text) {
		if n++; form.MatchString(line) {
			return fmt.Sprintf("%s:%d", path, n)
		}
	}
	return path
}

// take turns a value into what the flag takes, or says what is wanted.
func (s *setting) take(value any) (why string) {
	switch s.key {
	case "no_cache", "quiet", "summary", "verbose":
		if _, ok := value.(bool); !ok {
			return "true or false is wanted"
		}
	case "keep_local":
		return s.takeKept(value)
	case "max_upload", "timeout":
		if n, ok := value.(int64); ok {
			s.text = fmt.Sprint(n)
			return ""
		}
		if _, ok := value.(string); !ok {
			return "a text in quotes is wanted"
		}
	case "audit":
		if path, ok := value.(string); !ok || !filepath.IsAbs(path) {
			return "the full path of a file is wanted, in quotes"
		}
	default:
		if _, ok := value.(string); !ok {
			return "a text in quotes is wanted"
		}
	}
	s.text = fmt.Sprint(value)
	return ""
}

// takeKept reads what is kept local in every run: functions, which only one program has, are none of it.
func (s *setting) takeKept(value any) (why string) {
	list, ok := value.([]any)
	if !ok {
		return `a list is wanted, such as ["stdin", "env:TOKEN"]`
	}
	for _, v := range list {
		text, ok := v.(string)
		kind, name, named := strings.Cut(text, ":")
		if !ok || text != "stdin" && (!named || name == "" || kind != "env" && kind != "dir") {
			return fmt.Sprintf("%v: stdin, env:NAME or dir:GUEST is wanted; functions are kept by run --keep-local", v)
		}
		s.list = append(s.list, text)
	}
	return ""
}

// applyConfig gives flags that the command line does not name the values of the configuration file.
func (o *runOptions) applyConfig(flags *pflag.FlagSet) error {
	all, err := readConfig()
	if err != nil {
		return err
	}
	o.place = map[string]string{}
	for _, s := range all {
		name := strings.ReplaceAll(s.key, "_", "-")
		f := flags.Lookup(name)
		switch {
		case f == nil:
			return fmt.Errorf("BUG: no flag %s", name)
		case s.key == "keep_local":
			o.keptAlways = s.list // besides what the flag names
			continue
		case f.Changed, s.key == "quiet" && flags.Changed("verbose"), s.key == "verbose" && flags.Changed("quiet"):
			continue
		}
		if err := f.Value.Set(s.text); err != nil {
			return fmt.Errorf("%s: %s %q: %s", s.place, s.key, s.text, wanted(f, err))
		}
		o.place[name] = fmt.Sprintf("%s: %s", s.place, s.key)
	}
	return nil
}

// named is a flag as messages name it: by where its value comes from.
func (o *runOptions) named(flag string) string {
	if p := o.place[flag]; p != "" {
		return p
	}
	return "--" + flag
}
