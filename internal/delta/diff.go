package delta

import (
	"encoding/binary"
	"fmt"
)

// joinGap is how many equal bytes between two changed ranges are sent rather than a new range begun.
const joinGap = 4

// alike guesses from a sample of words whether a difference is worth computing: of a page that was written all over
// it would be given up near its end.
func alike(base, page []byte) bool {
	const step = PageSize / 16
	differ := 0
	for at := 0; at < PageSize; at += step {
		if binary.LittleEndian.Uint64(base[at:]) != binary.LittleEndian.Uint64(page[at:]) {
			differ++
		}
	}
	return differ <= 14
}

// appendDiff appends the changed ranges that lead from base to page, or reports false when they grow beyond limit.
func appendDiff(dst, base, page []byte, limit int) ([]byte, bool) {
	start, end := len(dst), 0
	for at := nextChange(base, page, 0); at < PageSize; {
		from := at
		to := at + 1
		for {
			for to < PageSize && base[to] != page[to] {
				to++
			}
			at = nextChange(base, page, to)
			if at == PageSize || at-to > joinGap {
				break
			}
			to = at + 1
		}
		if len(dst)-start+to-from > limit {
			return dst[:start], false
		}
		dst = binary.AppendUvarint(dst, uint64(from-end))
		dst = binary.AppendUvarint(dst, uint64(to-from))
		dst = append(dst, page[from:to]...)
		end = to
	}
	return dst, len(dst)-start <= limit
}

// nextChange returns the first index from at on where the pages differ, or PageSize.
func nextChange(a, b []byte, at int) int {
	for ; at+8 <= PageSize; at += 8 {
		if binary.LittleEndian.Uint64(a[at:]) != binary.LittleEndian.Uint64(b[at:]) {
			break
		}
	}
	for at < PageSize && a[at] == b[at] {
		at++
	}
	return at
}

// applyDiff writes the ranges of diff over page, which holds the base.
func applyDiff(page, diff []byte) error {
	at := 0
	for len(diff) > 0 {
		keep, n := binary.Uvarint(diff)
		if n <= 0 || keep > uint64(PageSize-at) {
			return fmt.Errorf("range at %d keeps %d bytes: %w", at, keep, ErrFormat)
		}
		diff, at = diff[n:], at+int(keep)
		size, n := binary.Uvarint(diff)
		if n <= 0 || size == 0 || size > uint64(PageSize-at) || size > uint64(len(diff)-n) {
			return fmt.Errorf("range at %d replaces %d bytes: %w", at, size, ErrFormat)
		}
		copy(page[at:], diff[n:n+int(size)])
		diff, at = diff[n+int(size):], at+int(size)
	}
	return nil
}
