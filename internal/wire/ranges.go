package wire

import "iter"

// Ranges returns runs that cover ascending pages, at most MaxRanges of them: where there would be more, runs that
// lie close together are joined, and cover pages between them too.
func Ranges(pages iter.Seq[uint32]) []Range {
	var rs []Range
	for p := range pages {
		if n := len(rs); n > 0 && rs[n-1].First+rs[n-1].Count == p {
			rs[n-1].Count++
		} else {
			rs = append(rs, Range{p, 1})
		}
	}
	for gap := uint32(1); len(rs) > MaxRanges; gap *= 2 {
		joined := rs[:1]
		for _, r := range rs[1:] {
			if last := &joined[len(joined)-1]; r.First-(last.First+last.Count) <= gap {
				last.Count = r.First + r.Count - last.First
			} else {
				joined = append(joined, r)
			}
		}
		rs = joined
	}
	return rs
}
