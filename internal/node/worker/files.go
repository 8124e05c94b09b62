package worker

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/clonecloud/clonecloud/internal/chunkstore"
	"github.com/clonecloud/clonecloud/internal/clone"
)

// openFiles makes what keeps the files of the worker's device.
func (w *worker) openFiles(spool string, limit uint64) clone.Files {
	w.files = newKept(w.filesStore, func() bool { return w.host.Stats().Running > 0 }, w.log)
	return clone.Files{Open: w.files.open, Spool: spool, Limit: limit}
}

// filesStore opens the store of a tenant's files, whose key the device has sent. The node keeps it nowhere.
func (w *worker) filesStore(secret [32]byte) (*chunkstore.Store, error) {
	derive := func(what string, n int) ([]byte, error) {
		return hkdf.Key(sha256.New, secret[:], nil, "clonecloud files "+what, n)
	}
	key, err := derive("key", 32)
	if err != nil {
		return nil, err
	}
	name, err := derive("name", 16)
	if err != nil {
		return nil, err
	}
	var b chunkstore.Backend
	if at := w.assign.Files; strings.HasPrefix(at, "s3://") {
		place, query, _ := strings.Cut(at, "?")
		at = strings.TrimSuffix(place, "/") + "/" + hex.EncodeToString(name)
		if query != "" {
			at += "?" + query
		}
		b, err = chunkstore.OpenS3(context.Background(), at)
	} else {
		b, err = chunkstore.OpenFolder(filepath.Join(at, hex.EncodeToString(name)))
	}
	if err != nil {
		return nil, fmt.Errorf("open the place for files: %w", err)
	}
	return chunkstore.OpenStore(b, chunkstore.Options{Key: key, Quota: w.assign.Limits.Files, Repair: true, Log: w.log})
}
