package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// packages makes the deb and the rpm of a Linux platform, as packaging/nfpm.yaml says.
func (r *release) packages(ctx context.Context, p platform, binary string, licenses entry) error {
	tool, err := r.tools.path(ctx, nfpm)
	if err != nil {
		return err
	}
	env := []string{
		"PACKAGE_ARCH=" + p.arch,
		"PACKAGE_VERSION=" + packageVersion(r.version),
		"PACKAGE_BINARY=" + binary,
		"PACKAGE_LICENSES=" + licenses.path,
		"PACKAGE_STAGE=" + r.stage,
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.epoch),
		"TZ=UTC",
	}
	for _, kind := range []string{"deb", "rpm"} {
		_, err = output(ctx, r.root, env, tool, "package", "--config", r.packaging("nfpm.yaml"), "--packager", kind,
			"--target", r.out+string(filepath.Separator))
		if err != nil {
			return fmt.Errorf("make the %s for %s: %w", kind, p, err)
		}
	}
	return nil
}

// shelve lays out what packages hold besides the binary, in the form that distributions want: texts with their links
// intact, man pages and the changelog compressed.
func (r *release) shelve(texts []entry) error {
	for _, e := range texts {
		path := filepath.Join(r.stage, "doc", filepath.FromSlash(e.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		b, err := os.ReadFile(e.path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
	}
	dir := filepath.Join(r.stage, "man1gz")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(r.stage, "man1", "*.1"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		if err := compress(filepath.Join(dir, filepath.Base(page)+".gz"), b); err != nil {
			return err
		}
	}
	if err := compress(filepath.Join(r.stage, "changelog.gz"), []byte(debianChangelog(r.stamp))); err != nil {
		return err
	}
	return plainModes(r.stage)
}

// plainModes undoes what the umask did: nfpm takes modes from the disk.
func plainModes(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

func compress(path string, b []byte) error {
	return create(path, func(w io.Writer) error { return writeGzip(w, b) })
}

// maintainer is who packages say they come from; nfpm.yaml names the same.
const maintainer = "CloneCloud maintainers <maintainers@clonecloud.invalid>"

// debianChangelog is one entry, which points to the real one.
func debianChangelog(s stamp) string {
	return strings.Join([]string{
		"clonecloud (" + packageVersion(s.version) + ") unstable; urgency=medium",
		"",
		"  * Release " + s.version + ".",
		"    /usr/share/doc/clonecloud/CHANGELOG.md says what is new.",
		"",
		" -- " + maintainer + "  " + s.time().Format("Mon, 02 Jan 2006 15:04:05 -0700"),
		"",
	}, "\n")
}
