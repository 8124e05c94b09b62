package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/clonecloud/clonecloud/internal/faultproxy"
	"github.com/clonecloud/clonecloud/internal/link"
)

// rsync is a daemon of rsync behind a network. Each connection has a process of its own, as under inetd, which ends with it.
type rsync struct {
	dir      string // what it serves
	config   string
	listener *net.TCPListener
	proxy    *faultproxy.Proxy
	cancel   context.CancelFunc
	serving  sync.WaitGroup

	mu   sync.Mutex
	said string // guarded by mu; by daemons that failed
}

// newRsync starts to serve an empty folder.
func newRsync(ctx context.Context, scratch string, p link.Profile) (_ *rsync, err error) {
	if _, err := exec.LookPath("rsync"); err != nil {
		return nil, err
	}
	r := &rsync{}
	ctx, r.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.dir, err = os.MkdirTemp(scratch, "rsync-"); err != nil {
		return nil, err
	}
	var owner string
	if os.Getuid() == 0 { // it would become nobody
		owner = "uid = 0\ngid = 0\n"
	}
	r.config = filepath.Join(r.dir, "rsyncd.conf")
	text := fmt.Sprintf("use chroot = false\n%slog file = %s\n[tree]\npath = %s\nread only = false\n", owner,
		filepath.Join(r.dir, "log"), filepath.Join(r.dir, "in"))
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(r.dir, "in"), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.listener = l.(*net.TCPListener)
	r.serving.Go(func() { r.serve(ctx) })
	r.proxy, err = faultproxy.Start(faultproxy.Config{Target: l.Addr().String(), Profile: p})
	return r, err
}

func (r *rsync) serve(ctx context.Context) {
	for {
		c, err := r.listener.AcceptTCP()
		if err != nil {
			return // closed
		}
		if err := r.daemon(ctx, c); err != nil {
			r.mu.Lock()
			r.said += err.Error() + "\n"
			r.mu.Unlock()
		}
	}
}

// daemon serves one connection.
func (r *rsync) daemon(ctx context.Context, c *net.TCPConn) error {
	f, err := c.File()
	c.Close()
	if err != nil {
		return err
	}
	defer f.Close()
	var errs bytes.Buffer
	d := exec.CommandContext(ctx, "rsync", "--daemon", "--config="+r.config)
	d.Stdin, d.Stderr = f, &errs // a socket as standard input is a connection that inetd has accepted
	if err := d.Run(); err != nil {
		return fmt.Errorf("rsync daemon: %w: %s", err, errs.Bytes())
	}
	return nil
}

func (r *rsync) close() error {
	r.cancel()
	var errs []error
	if r.proxy != nil {
		errs = append(errs, r.proxy.Close())
	}
	if r.listener != nil {
		errs = append(errs, r.listener.Close())
	}
	r.serving.Wait()
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// copied is what one copy took.
type copied struct{ seconds, up, down float64 }

// copy copies a tree to where nothing is, and removes it again.
func (r *rsync) copy(ctx context.Context, t *tree, round int) (c copied, err error) {
	name := fmt.Sprintf("round-%d", round)
	up, down := r.proxy.Traffic()
	begin := time.Now()
	text, err := exec.CommandContext(ctx, "rsync", "-az", t.dir+"/", fmt.Sprintf("rsync://%s/tree/%s/", r.proxy.Addr(), name)).CombinedOutput()
	c.seconds = time.Since(begin).Seconds()
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return c, fmt.Errorf("rsync: %w: %s%s", err, text, r.said)
	}
	u, d := r.proxy.Traffic()
	c.up, c.down = float64(u-up), float64(d-down)
	to := filepath.Join(r.dir, "in", name)
	var size int64
	err = filepath.WalkDir(to, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			size += fi.Size()
		}
		return err
	})
	if err == nil && size != t.bytes {
		err = fmt.Errorf("rsync has copied %d bytes of %d", size, t.bytes)
	}
	return c, errors.Join(err, os.RemoveAll(to))
}

// rsyncVersion is what the program calls itself.
func rsyncVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "rsync", "--version").Output()
	if err != nil {
		return "rsync"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.Join(strings.Fields(line), " ")
}
