package reconcile

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/clonecloud/clonecloud/internal/tree"
)

// Whose version it is that is laid aside.
const (
	ofClone  = "clone's version"
	ofDevice = "device's version"
)

// asideName is the n-th name for a version laid beside a name.
func asideName(name, whose, date string, n int) string {
	ext := path.Ext(name)
	if strings.Trim(strings.TrimSuffix(name, ext), ".") == "" || len(ext) > 20 {
		ext = "" // ".profile" has none
	}
	stem := strings.TrimSuffix(name, ext)
	mark := fmt.Sprintf(" (%s %s %d)", whose, date, n)
	if most := tree.MaxName - len(mark) - len(ext); len(stem) > most {
		stem = cut(stem, most)
	}
	return stem + mark + ext
}

// cut shortens a name, at the beginning of a character if it is UTF-8.
func cut(s string, n int) string {
	for i := n; i > 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}
