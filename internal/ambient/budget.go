package ambient

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
)

// Budget counts the bytes of a day in a file, so that it holds over restarts. A file that is damaged counts as none.
type Budget struct {
	path string
	kept day // as it stands in the file
	now  day
}

// day is the contents of the file.
type day struct {
	Version int    `json:"version"`
	Day     string `json:"day"` // of local time
	Bytes   uint64 `json:"bytes"`
}

const (
	budgetVersion = 1
	maxBudget     = 4 << 10 // bytes of the file
	keepEvery     = 8 << 20 // bytes between two times that it is written
)

// OpenBudget reads a budget.
func OpenBudget(path string) *Budget {
	b := &Budget{path: path}
	f, err := os.Open(path)
	if err != nil {
		return b
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBudget))
	var d day
	if err == nil && json.Unmarshal(text, &d) == nil && d.Version == budgetVersion {
		b.kept, b.now = d, d
	}
	return b
}

// turn begins a new day, if it is another one.
func (b *Budget) turn(now time.Time) {
	if d := now.Format(time.DateOnly); d != b.now.Day {
		b.now = day{Version: budgetVersion, Day: d}
	}
}

// Left is how much of limit is left of the day.
func (b *Budget) Left(now time.Time, limit uint64) uint64 {
	b.turn(now)
	return limit - min(b.now.Bytes, limit)
}

// Spend counts bytes. They are on disk after Keep, or once there are many.
func (b *Budget) Spend(now time.Time, n uint64) error {
	b.turn(now)
	b.now.Bytes += n
	if b.now.Day == b.kept.Day && b.now.Bytes-b.kept.Bytes < keepEvery {
		return nil
	}
	return b.Keep()
}

// Keep writes what was counted.
func (b *Budget) Keep() error {
	if b.now == b.kept {
		return nil
	}
	text, err := json.Marshal(b.now)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(b.path), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(b.path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the budget of the day: %w", err)
	}
	b.kept = b.now
	return nil
}
