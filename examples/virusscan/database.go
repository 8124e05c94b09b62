package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A signature is a line: a name, a kind, and what to look for.
//
//	Worm.Alpha hex 6a40??e8*c3      bytes; ?? stands for any byte, * for up to 64 of them
//	Dropper.Gamma sha256 9f86d0...  the digest of a whole file
//
// Lines that begin with # are comments.

const (
	anchorLen = 4  // bytes of a pattern that are looked up at each position
	maxGap    = 64 // bytes that * may stand for
)

// piece is a part of a pattern without a *. Where mask is 0 any byte does.
type piece struct{ bytes, mask []byte }

type pattern struct {
	name   string
	pieces []piece
	at     int // where in the first piece the anchor begins
}

// database finds patterns by a hash of four bytes: a bit filter says for nearly every position that nothing begins there.
type database struct {
	patterns []pattern
	filter   [1 << filterBits / 64]uint64
	anchors  map[uint32][]int32
	digests  map[[sha256.Size]byte]string
}

const filterBits = 16

func hash(anchor uint32) uint32 { return anchor * 0x9e3779b1 >> (32 - filterBits) }

func (db *database) size() int { return len(db.patterns) + len(db.digests) }

func readDatabase(r io.Reader) (*database, error) {
	db := &database{anchors: map[uint32][]int32{}, digests: map[[sha256.Size]byte]string{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := db.add(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return db, lines.Err()
}

func (db *database) add(fields []string) error {
	if len(fields) != 3 {
		return fmt.Errorf("want a name, a kind and a signature")
	}
	name, kind, text := fields[0], fields[1], fields[2]
	switch kind {
	case "sha256":
		sum, err := hex.DecodeString(text)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("%s: not a digest", name)
		}
		db.digests[[sha256.Size]byte(sum)] = name
		return nil
	case "hex":
		p, err := parsePattern(name, text)
		if err != nil {
			return err
		}
		anchor := binary.LittleEndian.Uint32(p.pieces[0].bytes[p.at:])
		h := hash(anchor)
		db.filter[h/64] |= 1 << (h % 64)
		db.anchors[anchor] = append(db.anchors[anchor], int32(len(db.patterns)))
		db.patterns = append(db.patterns, p)
		return nil
	}
	return fmt.Errorf("%s: unknown kind %s", name, kind)
}

func parsePattern(name, text string) (pattern, error) {
	p := pattern{name: name, at: -1}
	for part := range strings.SplitSeq(text, "*") {
		var pc piece
		for ; len(part) >= 2; part = part[2:] {
			if part[:2] == "??" {
				pc.bytes, pc.mask = append(pc.bytes, 0), append(pc.mask, 0)
				continue
			}
			b, err := hex.DecodeString(part[:2])
			if err != nil {
				return p, fmt.Errorf("%s: %w", name, err)
			}
			pc.bytes, pc.mask = append(pc.bytes, b[0]), append(pc.mask, 0xff)
		}
		if part != "" || len(pc.bytes) == 0 {
			return p, fmt.Errorf("%s: half a byte, or nothing beside a *", name)
		}
		p.pieces = append(p.pieces, pc)
	}
	// The anchor is the run of fixed bytes with most different values: zeros and spaces are everywhere.
	best := 0
	first := p.pieces[0]
	for i := 0; i+anchorLen <= len(first.bytes); i++ {
		if bytes.IndexByte(first.mask[i:i+anchorLen], 0) >= 0 {
			continue
		}
		if d := distinct(first.bytes[i : i+anchorLen]); d > best {
			best, p.at = d, i
		}
	}
	if p.at < 0 {
		return p, fmt.Errorf("%s: no %d bytes without a wildcard before the first *", name, anchorLen)
	}
	return p, nil
}

func distinct(b []byte) int {
	n := 0
	for i, c := range b {
		if bytes.IndexByte(b[:i], c) < 0 {
			n++
		}
	}
	return n
}

// match returns the sorted names of what is in the data, each once.
func (db *database) match(data []byte) []string {
	var found []string
	if name, ok := db.digests[sha256.Sum256(data)]; ok {
		found = append(found, name)
	}
	if len(data) >= anchorLen {
		found = db.search(data, found)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (db *database) search(data []byte, found []string) []string {
	window := uint32(data[0])<<8 | uint32(data[1])<<16 | uint32(data[2])<<24
	for i := anchorLen - 1; i < len(data); i++ {
		window = window>>8 | uint32(data[i])<<24
		h := hash(window)
		if db.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, n := range db.anchors[window] {
			p := &db.patterns[n]
			if start := i - (anchorLen - 1) - p.at; start >= 0 && p.begins(data[start:]) {
				found = append(found, p.name)
			}
		}
	}
	return found
}

// begins reports whether the data begins with the pattern.
func (p *pattern) begins(data []byte) bool {
	if !p.pieces[0].begins(data) {
		return false
	}
	return follows(data[len(p.pieces[0].bytes):], p.pieces[1:])
}

// follows reports whether the pieces come one after the other with at most maxGap bytes before each.
func follows(data []byte, pieces []piece) bool {
	if len(pieces) == 0 {
		return true
	}
	for gap := 0; gap <= maxGap && gap < len(data); gap++ {
		if pieces[0].begins(data[gap:]) && follows(data[gap+len(pieces[0].bytes):], pieces[1:]) {
			return true
		}
	}
	return false
}

func (pc *piece) begins(data []byte) bool {
	if len(data) < len(pc.bytes) {
		return false
	}
	for i, b := range pc.bytes {
		if data[i]&pc.mask[i] != b {
			return false
		}
	}
	return true
}
