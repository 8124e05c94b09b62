package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stamp is what a release says of itself.
type stamp struct {
	version string // v1.2.3, v1.2.3-4-gabcdef012345, or without a tag as Go has it: v0.0.0-20060102150405-abcdef012345
	epoch   int64  // the time of all files, in seconds
}

func (s stamp) time() time.Time { return time.Unix(s.epoch, 0).UTC() }

// wellFormed is a version that file names, packages and the linker's flags can all carry.
var wellFormed = regexp.MustCompile(`^v[0-9]+(\.[0-9]+){0,2}([-+.][0-9A-Za-z.+-]*)?$`)

// readStamp asks the environment, and git for what that does not say.
func readStamp(ctx context.Context, root string) (stamp, error) {
	s := stamp{version: os.Getenv("VERSION")}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return s, fmt.Errorf("SOURCE_DATE_EPOCH=%s: it is no number of seconds", text)
		}
		s.epoch = n
	} else {
		text, err := output(ctx, root, nil, "git", "log", "-1", "--format=%ct")
		if err != nil {
			return s, fmt.Errorf("find the commit's time; without git, set SOURCE_DATE_EPOCH and VERSION: %w", err)
		}
		if s.epoch, err = strconv.ParseInt(text, 10, 64); err != nil {
			return s, fmt.Errorf("find the commit's time: %w", err)
		}
	}
	if s.version == "" {
		var err error
		if s.version, err = describe(ctx, root); err != nil {
			return s, fmt.Errorf("find the version; without git, set VERSION: %w", err)
		}
	}
	if !wellFormed.MatchString(s.version) {
		return s, fmt.Errorf("VERSION=%s: a version such as v1.2.3 is wanted", s.version)
	}
	return s, nil
}

// describe names the checkout by its nearest tag, or as Go does for a commit that no tag precedes.
func describe(ctx context.Context, root string) (string, error) {
	version, err := output(ctx, root, nil, "git", "describe", "--tags", "--match", "v[0-9]*", "--abbrev=12")
	if err != nil { // no tag
		commit, err := output(ctx, root, []string{"TZ=UTC"}, "git", "log", "-1", "--abbrev=12",
			"--date=format-local:%Y%m%d%H%M%S", "--format=v0.0.0-%cd-%h")
		if err != nil {
			return "", err
		}
		version = commit
	}
	changed, err := output(ctx, root, nil, "git", "status", "--porcelain")
	if err != nil {
		return "", err
	}
	if changed != "" {
		version += "+dirty"
	}
	return version, nil
}

var (
	since  = regexp.MustCompile(`^(.*)-([0-9]+)-g([0-9a-f]+)$`) // commits since a tag
	pseudo = regexp.MustCompile(`^0\.0\.0-([0-9]{14})-([0-9a-f]{12})`)
)

// packageVersion is the version in the form that dpkg and rpm compare: "~" sorts before the release, "+" behind it, and
// there is no "-".
func packageVersion(version string) string {
	v := strings.TrimPrefix(version, "v")
	v, mark, dirty := strings.Cut(v, "+")
	if m := pseudo.FindStringSubmatch(v); m != nil {
		v = "0.0.0~" + m[1] + "." + m[2]
	} else {
		after := ""
		if m := since.FindStringSubmatch(v); m != nil {
			v, after = m[1], "+"+m[2]+".g"+m[3]
		}
		if release, pre, ok := strings.Cut(v, "-"); ok {
			v = release + "~" + strings.ReplaceAll(pre, "-", ".")
		}
		v += after
	}
	if dirty {
		v += "+" + strings.NewReplacer("-", ".", "+", ".").Replace(mark)
	}
	return v
}
