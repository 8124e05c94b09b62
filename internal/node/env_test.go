package node

import (
	"slices"
	"testing"
)

// TestWorkerEnv: a worker inherits what it needs, and who the node is at an object store only if it keeps files there.
func TestWorkerEnv(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("LANG", "C")
	t.Setenv("UNRELATED", "x")
	for files, want := range map[string]bool{"": false, "/srv/files": false, "s3://host/bucket": true} {
		env := workerEnv("dir", files)
		if got := slices.Contains(env, "AWS_SECRET_ACCESS_KEY=secret"); got != want {
			t.Errorf("files %q: the secret is inherited: %v, want %v", files, got, want)
		}
		if !slices.Contains(env, "LANG=C") || !slices.Contains(env, "TMPDIR=dir") || slices.Contains(env, "UNRELATED=x") {
			t.Errorf("files %q: got %v", files, env)
		}
	}
}
