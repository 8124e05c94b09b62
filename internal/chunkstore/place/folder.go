package place

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// tempDir is the folder of files that are being written. No item's name has a dot.
	tempDir = ".tmp"
	// staleTemp is how old a half-written file is before it counts as left behind.
	staleTemp = time.Hour
	// syncs at once share commits of the file system's journal.
	syncs   = 32
	writers = 8
	// openAtOnce is how many files are open at most, for one PutAll.
	openAtOnce = 256
)

// folder is a Backend in a folder: an item "a/b" is the file b in the sub-folder a.
type folder struct {
	dir  string
	disk Disk

	mu   sync.Mutex
	made map[string]bool // guarded by mu: sub-folders that are durable
}

// OpenFolder opens the folder dir as a place for items, and makes it if it is not there. Half-written files older than
// an hour are removed.
func OpenFolder(dir string) (Backend, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open folder of files: %w", err)
	}
	f, err := OpenFolderOn(osDisk{}, dir)
	if err != nil {
		return nil, err
	}
	// So that the folder itself outlasts a crash, as far as it was made here.
	if err := (osDisk{}).SyncDir(filepath.Dir(filepath.Clean(dir))); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open folder of files: %w", err)
	}
	return f, nil
}

// OpenFolderOn is OpenFolder on a disk other than the system's. What dir names must be there.
func OpenFolderOn(d Disk, dir string) (Backend, error) {
	f := &folder{dir: dir, disk: d, made: map[string]bool{}}
	temp := filepath.Join(dir, tempDir)
	if err := d.Mkdir(temp); err != nil {
		return nil, fmt.Errorf("open folder of files: %w", err)
	}
	list, err := d.List(temp)
	if err != nil {
		return nil, fmt.Errorf("open folder of files: %w", err)
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleTemp {
			_ = d.RemoveAll(filepath.Join(temp, e.Name())) // else the next one who opens the folder does it
		}
	}
	return f, nil
}

func (f *folder) path(name string) string {
	if filepath.Separator == '/' {
		return f.dir + "/" + name
	}
	return filepath.Join(f.dir, filepath.FromSlash(name))
}

func (f *folder) Get(ctx context.Context, name string, buf []byte) ([]byte, error) {
	if err := cmp.Or(ctx.Err(), checkName(name)); err != nil {
		return nil, err
	}
	b, err := f.disk.Read(f.path(name), MaxItem, buf)
	if errors.Is(err, ErrIrregular) || errors.Is(err, syscall.EISDIR) {
		if f.isSub(name) {
			return nil, &fs.PathError{Op: "read", Path: f.path(name), Err: fs.ErrNotExist}
		}
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, absent(err)
}

// isSub tells whether a name is that of a sub-folder. It is then no item's, and stays.
func (f *folder) isSub(name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	info, err := f.disk.Lstat(f.path(name))
	return err == nil && info.IsDir()
}

// absent has an error match fs.ErrNotExist if a folder on the way to the item is something else.
func absent(err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// Stat implements Stater.
func (f *folder) Stat(_ context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	info, err := f.disk.Lstat(f.path(name))
	if err != nil {
		return Info{}, absent(err)
	}
	if !info.Mode().IsRegular() {
		return Info{}, fmt.Errorf("item %s is no file: %w", name, fs.ErrNotExist)
	}
	return Info{Name: name, Size: info.Size(), Used: info.ModTime()}, nil
}

// PutAll writes all items beside their places, syncs them, moves them and syncs the folders.
func (f *folder) PutAll(ctx context.Context, items []Item) error {
	if err := checkItems(items); err != nil {
		return err
	}
	err := f.putAll(ctx, items)
	if err != nil && noRoom(err) {
		return fmt.Errorf("%w: the disk of %s is full: %w", ErrFull, f.dir, err)
	}
	return err
}

func (f *folder) putAll(ctx context.Context, items []Item) error {
	temps := make([]string, len(items))
	defer func() {
		for _, t := range temps {
			if t != "" {
				_ = f.disk.Remove(t) // at worst it goes when the folder is opened later
			}
		}
	}()
	if err := f.makeDirs(items); err != nil {
		return err
	}
	for at := 0; at < len(items); at += openAtOnce {
		end := min(at+openAtOnce, len(items))
		if err := f.write(ctx, items[at:end], temps[at:end]); err != nil {
			return err
		}
	}
	for i, it := range items {
		if err := f.move(temps[i], it.Name); err != nil {
			return err
		}
		temps[i] = ""
	}
	dirs := map[string]bool{}
	for _, it := range items {
		dirs[filepath.Dir(f.path(it.Name))] = true
	}
	list := slices.Sorted(maps.Keys(dirs))
	// Not cut short: what has been moved is to become durable.
	return Parallel(context.WithoutCancel(ctx), len(list), syncs, func(i int) error { return f.disk.SyncDir(list[i]) })
}

// makeDirs makes the sub-folders of items, durably.
func (f *folder) makeDirs(items []Item) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var fresh []string
	for _, it := range items {
		sub, _, two := strings.Cut(it.Name, "/")
		if !two || f.made[sub] || slices.Contains(fresh, sub) {
			continue
		}
		if err := f.disk.Mkdir(filepath.Join(f.dir, sub)); err != nil {
			return err
		}
		fresh = append(fresh, sub)
	}
	if fresh == nil {
		return nil
	}
	if err := f.disk.SyncDir(f.dir); err != nil {
		return err
	}
	for _, sub := range fresh {
		f.made[sub] = true
	}
	return nil
}

// write writes items to files whose names it puts into temps. All are written before the first is synced, so that few
// commits of the file system's journal serve them all.
func (f *folder) write(ctx context.Context, items []Item, temps []string) error {
	files := make([]File, len(items))
	defer func() {
		for _, w := range files {
			if w != nil {
				_ = w.Close() // there is an error already
			}
		}
	}()
	err := Parallel(ctx, len(items), writers, func(i int) (err error) {
		temp := filepath.Join(f.dir, tempDir, rand.Text())
		if files[i], err = f.disk.Create(temp); err != nil {
			return err
		}
		temps[i] = temp
		if _, err := files[i].Write(items[i].Data); err != nil {
			return err
		}
		files[i].Begin()
		return nil
	})
	if err != nil {
		return err
	}
	return Parallel(ctx, len(items), syncs, func(i int) error {
		w := files[i]
		files[i] = nil
		err := w.Sync()
		if e := w.Close(); err == nil {
			err = e
		}
		return err
	})
}

// move renames a file to the place of an item. A folder that lies there, but a sub-folder of items, gives way.
func (f *folder) move(from, name string) error {
	to := f.path(name)
	err := f.disk.Rename(from, to)
	if err == nil || f.isSub(name) {
		return err
	}
	if info, e := f.disk.Lstat(to); e != nil || !info.IsDir() {
		return err
	}
	if e := f.disk.RemoveAll(to); e != nil {
		return e
	}
	return f.disk.Rename(from, to)
}

func (f *folder) Delete(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := cmp.Or(ctx.Err(), checkName(name)); err != nil {
			return err
		}
		if f.isSub(name) {
			continue
		}
		path := f.path(name)
		err := absent(f.disk.Remove(path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = f.disk.RemoveAll(path) // a folder that is not empty
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// List goes through the sub-folders. What is removed meanwhile is left out.
func (f *folder) List(ctx context.Context, prefix string, call func(Info) error) error {
	sub, _, two := strings.Cut(prefix, "/")
	if two {
		return f.listDir(ctx, sub, prefix, call)
	}
	list, err := f.disk.List(f.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := e.Name()
		switch {
		case !strings.HasPrefix(name, prefix) || name == tempDir:
		case e.IsDir() && validPart(name):
			err = f.listDir(ctx, name, prefix, call)
		default:
			err = report(e, name, call)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) listDir(ctx context.Context, sub, prefix string, call func(Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	list, err := f.disk.List(filepath.Join(f.dir, sub))
	if errors.Is(absent(err), fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		if name := sub + "/" + e.Name(); strings.HasPrefix(name, prefix) {
			if err := report(e, name, call); err != nil {
				return err
			}
		}
	}
	return nil
}

func report(e fs.DirEntry, name string, call func(Info) error) error {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return call(Info{Name: name, Size: info.Size(), Used: info.ModTime(), Foreign: !info.Mode().IsRegular() || !ValidName(name)})
}

func (f *folder) Touch(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := cmp.Or(ctx.Err(), checkName(name)); err != nil {
			return err
		}
		if err := f.disk.Touch(f.path(name)); err != nil && !errors.Is(absent(err), fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *folder) Close() error { return nil }

// Parallel calls f with each number below n, most at once, until one fails or ctx ends.
func Parallel(ctx context.Context, n, most int, f func(i int) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if n == 1 {
		return f(0)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, most) {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
