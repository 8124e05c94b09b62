package clonecloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud/internal/atomicfile"
	"github.com/clonecloud/clonecloud/internal/trust"
)

// ErrNoCloud marks a name that no cloud has.
var ErrNoCloud = errors.New("no such cloud")

// Clouds is a folder with the addresses of clouds by name, one file each, which others cannot read.
type Clouds string

// NamedCloud is a cloud of Clouds.
type NamedCloud struct {
	Name     string
	Redacted string // its address, without the secret
}

// storedCloud is a file of Clouds.
type storedCloud struct {
	Version int    `json:"version"`
	Address string `json:"address"`
}

const (
	cloudExt     = ".json"
	maxCloudFile = 16 << 10
	maxCloudName = 64
)

// path is the file of a cloud, if the name can be one.
func (c Clouds) path(name string) (string, error) {
	ok := name != "" && len(name) <= maxCloudName && name != "local"
	for i, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && strings.ContainsRune("-_.", r))
	}
	if !ok {
		return "", fmt.Errorf("%w: %q cannot be the name of a cloud: letters, digits and, behind the first, - _ . can", ErrConfig, name)
	}
	return filepath.Join(string(c), name+cloudExt), nil
}

// Add keeps an address under a name, in place of what was there.
func (c Clouds) Add(name, address string) error {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	if _, err := trust.ParseAddress(address); err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	b, err := json.Marshal(storedCloud{Version: 1, Address: address})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return fmt.Errorf("keep cloud %s: %w", name, err)
	}
	if err := atomicfile.Write(path, b, 0o600); err != nil {
		return fmt.Errorf("keep cloud %s: %w", name, err)
	}
	return nil
}

// Address returns the address of a cloud.
func (c Clouds) Address(name string) (string, error) {
	path, err := c.path(name)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s", ErrNoCloud, name)
	}
	if err != nil {
		return "", fmt.Errorf("read cloud %s: %w", name, err)
	}
	var s storedCloud
	damaged := len(b) > maxCloudFile || json.Unmarshal(b, &s) != nil || s.Version != 1
	if !damaged {
		_, err = trust.ParseAddress(s.Address)
		damaged = err != nil
	}
	if damaged {
		return "", fmt.Errorf("read cloud %s: %s is damaged, or of another version: add the cloud again", name, path)
	}
	return s.Address, nil
}

// List returns the clouds in order of their names. One whose file is damaged has no address.
func (c Clouds) List() ([]NamedCloud, error) {
	files, err := os.ReadDir(string(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list clouds: %w", err)
	}
	var list []NamedCloud
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), cloudExt)
		if _, err := c.path(name); !ok || err != nil {
			continue
		}
		n := NamedCloud{Name: name}
		if text, err := c.Address(name); err == nil {
			if a, err := trust.ParseAddress(text); err == nil {
				n.Redacted = a.Redacted()
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// Remove forgets a cloud.
func (c Clouds) Remove(name string) error {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoCloud, name)
	} else if err != nil {
		return fmt.Errorf("remove cloud %s: %w", name, err)
	}
	return nil
}
