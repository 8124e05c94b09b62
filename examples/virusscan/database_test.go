package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newDatabase(t *testing.T, lines ...string) *database {
	t.Helper()
	db, err := readDatabase(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestMatch(t *testing.T) {
	sum := sha256.Sum256([]byte("whole file"))
	db := newDatabase(t, "# comment", "",
		"plain hex 0102030405",
		"wild hex 20??41424344??45",
		"gap hex 61626364*65??66*67",
		"late hex ??????0a0b0c0d",
		"digest sha256 "+hex.EncodeToString(sum[:]))
	for _, tt := range []struct {
		name, data string
		want       []string
	}{
		{"nothing", "some text", nil},
		{"short", "ab", nil},
		{"empty", "", nil},
		{"at the start", "\x01\x02\x03\x04\x05", []string{"plain"}},
		{"at the end", "xxx\x01\x02\x03\x04\x05", []string{"plain"}},
		{"cut off", "xxx\x01\x02\x03\x04", nil},
		{"twice, once reported", "\x01\x02\x03\x04\x05\x01\x02\x03\x04\x05", []string{"plain"}},
		{"wildcards", "= \x99ABCD\x00E", []string{"wild"}},
		{"wildcards, wrong end", "= \x99ABCD\x00F", nil},
		{"gaps", "abcd" + strings.Repeat("-", 64) + "eeffg", []string{"gap"}},
		{"no gap", "abcdeefg", []string{"gap"}},
		{"gap too wide", "abcd" + strings.Repeat("-", 65) + "eefg", nil},
		{"anchor in the middle", "123\x0a\x0b\x0c\x0d", []string{"late"}},
		{"anchor before the start", "\x0a\x0b\x0c\x0d", nil},
		{"digest", "whole file", []string{"digest"}},
		{"two", "\x01\x02\x03\x04\x05abcdeefg", []string{"gap", "plain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, db.match([]byte(tt.data))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMalformedSignatures(t *testing.T) {
	for _, line := range []string{"a", "a hex", "a hex 0", "a hex 010203", "a hex 01??0304", "a hex zzzzzzzz", "a hex 01020304*", "a hex *01020304", "a sha256 00",
		"a md5 00", "a hex 01020304**05", "a hex 01020304 b"} {
		if _, err := readDatabase(strings.NewReader("ok hex 01020304\n" + line)); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q: %v, want an error on line 2", line, err)
		}
	}
}

func TestDamagedArchive(t *testing.T) {
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{filepath.Join(files, "a.zip"): "PK\x03\x04 is no archive \x01\x02\x03\x04", filepath.Join(dir, "db"): "X hex 01020304"} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	code, err := scan(filepath.Join(dir, "db"), files, &out)
	if err != nil || code != 1 || !strings.Contains(out.String(), "FOUND X") || !strings.Contains(out.String(), "open archive") {
		t.Errorf("code %d, %v:\n%s", code, err, out.String())
	}
	if _, err := scan(filepath.Join(dir, "none"), files, &out); err == nil {
		t.Error("a missing database is no error")
	}
}
