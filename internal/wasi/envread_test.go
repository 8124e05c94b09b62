package wasi_test

import (
	"testing"

	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

// TestEnvRead: it is noticed when the guest is given its variables, and only then.
func TestEnvRead(t *testing.T) {
	m := newMachine(t, wasi.Preview1, local.Config{})
	count := m.room(8)
	m.want("sizes", m.call("environ_sizes_get", count, count+4), vfs.Success)
	m.want("arguments", m.call("args_get", m.room(64), m.room(64)), vfs.Success)
	if m.p.EnvRead {
		t.Error("read before the guest asked")
	}
	m.want("variables", m.call("environ_get", m.room(64), m.room(64)), vfs.Success)
	if !m.p.EnvRead {
		t.Error("not noticed")
	}
}
