// Command virusscan looks for known malware in a folder.
//
//	virusscan SIGNATURES FOLDER
//
// It prints each infected file with what was found in it, then a summary. It exits with 1 if a file is infected, and with 2 if something
// could not be read.
package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An archive that claims more than this is not unpacked further: it may be a bomb.
const maxUnpacked = 64 << 20

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: virusscan SIGNATURES FOLDER")
		os.Exit(2)
	}
	code, err := scan(os.Args[1], os.Args[2], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "virusscan:", err)
		os.Exit(2)
	}
	os.Exit(code)
}

func scan(signatures, folder string, out io.Writer) (int, error) {
	f, err := os.Open(signatures)
	if err != nil {
		return 0, err
	}
	db, err := readDatabase(f)
	f.Close()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", signatures, err)
	}
	w := bufio.NewWriter(out)
	defer w.Flush()
	s := &scanner{db: db}
	files, infected := 0, 0
	err = filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		found, err := s.file(data)
		if err != nil {
			fmt.Fprintf(w, "%s: %v\n", name, err)
		}
		if len(found) > 0 {
			infected++
			fmt.Fprintf(w, "%s: FOUND %s\n", name, strings.Join(found, ", "))
		}
		return nil
	})
	fmt.Fprintf(w, "%d signatures, %d files, %d bytes scanned, %d infected\n", db.size(), files, s.bytes, infected)
	if err != nil || infected == 0 {
		return 0, err
	}
	return 1, nil
}

// scanner keeps count over all files.
type scanner struct {
	db    *database
	bytes int64
}

// file scans one file and, if it is an archive, what is packed in it.
func (s *scanner) file(data []byte) ([]string, error) {
	s.bytes += int64(len(data))
	found := s.db.match(data)
	if !bytes.HasPrefix(data, []byte("PK\x03\x04")) {
		return found, nil
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return found, fmt.Errorf("open archive: %w", err)
	}
	left := int64(maxUnpacked)
	for _, member := range archive.File {
		r, err := member.Open()
		if err != nil {
			return found, fmt.Errorf("open %s: %w", member.Name, err)
		}
		inner, err := io.ReadAll(io.LimitReader(r, left))
		r.Close()
		if err != nil {
			return found, fmt.Errorf("unpack %s: %w", member.Name, err)
		}
		left -= int64(len(inner))
		s.bytes += int64(len(inner))
		for _, name := range s.db.match(inner) {
			found = append(found, member.Name+": "+name)
		}
	}
	return found, nil
}
