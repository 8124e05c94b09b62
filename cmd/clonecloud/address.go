package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// giveAddress hands out a node's address: to a file if one is named, else to standard output, which a service's log may
// keep where others read it.
func giveAddress(stdout io.Writer, file, address string) error {
	if file == "" {
		_, err := fmt.Fprintln(stdout, address)
		return err
	}
	if err := writeSecret(file, address+"\n"); err != nil {
		return fmt.Errorf("--address-file %s: %w", file, err)
	}
	return nil
}

// writeSecret replaces a file in one step. Nobody but its owner may read it at any time.
func writeSecret(path, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
