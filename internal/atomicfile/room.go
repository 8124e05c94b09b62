package atomicfile

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// MakeRoom keeps a folder small that one file more will come to: once it has most entries, those of its regular files that
// were written longest ago are removed until keep are left. Only those count for which ours is true; nil: all. Errors do
// not matter to a folder of what can be had again: it is tried the next time.
func MakeRoom(dir string, most, keep int, ours func(name string) bool) {
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < most {
		return
	}
	type entry struct {
		name string
		at   time.Time
	}
	var all []entry
	for _, d := range list {
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() && (ours == nil || ours(d.Name())) {
			all = append(all, entry{d.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	for _, e := range all[:max(len(all)-keep, 0)] {
		_ = os.Remove(filepath.Join(dir, e.name))
	}
}
