package examples

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"strings"
)

// generateFiles makes signatures and a folder tree of texts, programs and archives, some of them infected.
func generateFiles(dir string, size Size, seed uint64) ([]string, error) {
	r := rand.New(rand.NewPCG(seed, 3))
	count := []int{10, 45, 400}[size]
	var db bytes.Buffer
	fmt.Fprintln(&db, "# name, kind, signature")
	var known []malware
	for i := range []int{1200, 2500, 5000}[size] {
		m := newMalware(fmt.Sprintf("%s.%04d", []string{"Worm", "Trojan", "Dropper", "Miner"}[i%4], i), r)
		fmt.Fprintf(&db, "%s hex %s\n", m.name, m.signature)
		known = append(known, m)
	}

	words := newNames(r)
	var expected []string
	infected := 0
	for i := range count {
		name := fmt.Sprintf("files/%c/%c/file-%03d", 'a'+i%5, 'k'+i/5%4, i)
		data := content(i%3, 20000+r.IntN(60000), words, r)
		var found []string
		switch {
		case i%6 == 1:
			m := known[r.IntN(len(known))]
			at := r.IntN(len(data) - len(m.body))
			copy(data[at:], m.body)
			found = append(found, m.name)
		case i%12 == 4:
			bad := fmt.Sprintf("Digest.%04d", i)
			sum := sha256.Sum256(data)
			fmt.Fprintf(&db, "%s sha256 %s\n", bad, hex.EncodeToString(sum[:]))
			found = append(found, bad)
		}
		if i%4 == 3 {
			var inner []string
			data, inner = packed(data, i, known, words, r)
			for j := range found {
				found[j] = "member-0: " + found[j]
			}
			found = append(found, inner...)
		}
		if len(found) > 0 {
			infected++
		}
		if len(found) > 0 {
			expected = append(expected, fmt.Sprintf("%s/%s: FOUND %s", Mount, name, strings.Join(found, ", ")))
		}
		if err := write(dir, name, data); err != nil {
			return nil, err
		}
	}
	if err := write(dir, "signatures.txt", db.Bytes()); err != nil {
		return nil, err
	}
	sort.Strings(expected)
	return append(expected, fmt.Sprintf(" %d files, ", count), fmt.Sprintf(" %d infected", infected)), nil
}

// packed makes an archive of a file and two more, the last of which may be infected.
func packed(first []byte, i int, known []malware, words *names, r *rand.Rand) ([]byte, []string) {
	var found []string
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for n, data := range [][]byte{first, content(0, 30000, words, r), content(1, 30000, words, r)} {
		member := fmt.Sprintf("member-%d", n)
		if n == 2 && i%8 == 3 {
			m := known[r.IntN(len(known))]
			copy(data[r.IntN(len(data)-len(m.body)):], m.body)
			found = append(found, member+": "+m.name)
		}
		// Errors cannot happen on a buffer.
		w, _ := z.Create(member)
		_, _ = w.Write(data)
	}
	_ = z.Close()
	return b.Bytes(), found
}

// malware is a signature and bytes that match it.
type malware struct {
	name, signature string
	body            []byte
}

func newMalware(name string, r *rand.Rand) malware {
	m := malware{name: name}
	wild, gap := r.IntN(3), r.IntN(4)
	for i := range 12 + r.IntN(20) {
		b := byte(r.Uint32())
		m.body = append(m.body, b)
		switch {
		case i > 4 && i%6 == 5 && wild > 0:
			m.signature += "??"
		case i == 10 && gap == 0:
			m.signature += fmt.Sprintf("%02x*", b)
			for range r.IntN(40) {
				m.body = append(m.body, byte(r.Uint32()))
			}
		default:
			m.signature += fmt.Sprintf("%02x", b)
		}
	}
	return m
}

// content is text, something like machine code, or a table.
func content(kind, size int, words *names, r *rand.Rand) []byte {
	b := make([]byte, 0, size+64)
	for len(b) < size {
		switch kind {
		case 0:
			b = append(append(b, words.common(r)...), ' ')
		case 1:
			b = append(b, []byte{0x48, 0x89, 0xe8, 0x0f, 0x55, 0xc3, 0x00, 0xff}[r.IntN(8)], byte(r.IntN(24)), byte(r.Uint32())&0x33)
		default:
			b = fmt.Appendf(b, "%d;%s;%d.%02d\n", r.IntN(9000), words.common(r), r.IntN(500), r.IntN(100))
		}
	}
	return b[:size]
}
