package place_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/clonecloud/clonecloud/internal/chunkstore"
	"github.com/clonecloud/clonecloud/internal/chunkstore/place"
	"github.com/clonecloud/clonecloud/internal/chunkstore/storetest"
	"github.com/clonecloud/clonecloud/internal/tree"
)

const testUser, testSecret, testBucket = "clonecloud-test", "clonecloud-test-secret", "files"

// credentialsOf has the environment say who we are, and nothing else.
func credentialsOf(t *testing.T, user, secret string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", user)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_ACCESS_KEY", user)
	t.Setenv("AWS_SECRET_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

// server is one that speaks S3.
type server struct {
	host string
	// age makes what is stored under a key an hour older.
	age func(t *testing.T, key string)
}

// movedClock is the system's clock, moved.
type movedClock struct{ by atomic.Int64 }

func (c *movedClock) Now() time.Time                  { return time.Now().UTC().Add(time.Duration(c.by.Load())) }
func (c *movedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// inProcess serves S3 from memory. It checks no signatures.
func inProcess(t *testing.T) server {
	t.Helper()
	clock := &movedClock{}
	backend := s3mem.New(s3mem.WithTimeSource(clock))
	if err := backend.CreateBucket(testBucket); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return server{strings.TrimPrefix(srv.URL, "http://"), func(*testing.T, string) { clock.by.Add(int64(time.Hour)) }}
}

// child serves S3 from a folder, as a server in use does.
func child(t *testing.T) server {
	t.Helper()
	bin := os.Getenv("CLONECLOUD_TEST_VERSITYGW")
	if bin == "" {
		var err error
		if bin, err = exec.LookPath("versitygw"); err != nil {
			t.Skip("there is no versitygw here: put it on the PATH, or name it in CLONECLOUD_TEST_VERSITYGW")
		}
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, testBucket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil { // it takes an address, not a socket
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--port", host, "--access", testUser, "--secret", testSecret, "--quiet", "posix", "--sidecar", t.TempDir(), root)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for {
		resp, err := http.Get("http://" + host + "/")
		if err == nil {
			_ = resp.Body.Close()
			return server{host, func(t *testing.T, key string) {
				then := time.Now().Add(-time.Hour)
				if err := os.Chtimes(filepath.Join(root, testBucket, filepath.FromSlash(key)), then, then); err != nil {
					t.Fatal(err)
				}
			}}
		}
		select {
		case <-ended:
			t.Fatalf("versitygw ended: %s", out)
		default:
		}
	}
}

func address(host, prefix string) string {
	return fmt.Sprintf("s3://%s/%s/%s?region=us-east-1&insecure=1", host, testBucket, prefix)
}

func openS3(t *testing.T, addr string) place.Backend {
	t.Helper()
	b, err := place.OpenS3(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func servers(t *testing.T, f func(t *testing.T, s server)) {
	for name, serve := range map[string]func(*testing.T) server{"in_process": inProcess, "versitygw": child} {
		t.Run(name, func(t *testing.T) {
			credentialsOf(t, testUser, testSecret)
			f(t, serve(t))
		})
	}
}

func TestS3(t *testing.T) {
	servers(t, func(t *testing.T, srv server) {
		var n atomic.Int32
		storetest.Run(t, func(t *testing.T) (b, second place.Backend) {
			addr := address(srv.host, fmt.Sprintf("tenants/%d", n.Add(1)))
			return openS3(t, addr), openS3(t, addr)
		})
	})
}

func TestS3TouchRenews(t *testing.T) {
	servers(t, func(t *testing.T, srv server) {
		b := openS3(t, address(srv.host, "t"))
		used := func() (at time.Time) {
			if err := b.List(t.Context(), "", func(i place.Info) error { at = i.Used; return nil }); err != nil {
				t.Fatal(err)
			}
			return at
		}
		if err := b.PutAll(t.Context(), []place.Item{{Name: "a/x", Data: []byte("data")}}); err != nil {
			t.Fatal(err)
		}
		srv.age(t, "t/a/x")
		before := used()
		if err := b.Touch(t.Context(), "a/x"); err != nil {
			t.Fatal(err)
		}
		if d := used().Sub(before); d < 50*time.Minute {
			t.Errorf("what was used an hour ago is %v younger after a touch", d)
		}
		if got, err := b.Get(t.Context(), "a/x", nil); err != nil || string(got) != "data" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestS3Store has a store on an object store, from two processes.
func TestS3Store(t *testing.T) {
	servers(t, func(t *testing.T, srv server) {
		ctx := t.Context()
		open := func(grace time.Duration) *chunkstore.Store {
			o := chunkstore.Options{Key: []byte("a key of a tenant of thirty-two."), Grace: grace, Log: t.Logf}
			s, err := chunkstore.OpenStore(openS3(t, address(srv.host, "t")), o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(0)
		var ids []tree.ID
		var chunks []tree.Chunk
		put := func(b []byte) tree.ID {
			id := tree.IDOf(b)
			if err := s.Put(ctx, id, b); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
			return id
		}
		for i := range byte(20) {
			b := bytes.Repeat([]byte{i}, 1000)
			chunks = append(chunks, tree.Chunk{ID: put(b), Size: 1000})
		}
		file := tree.Entry{Name: "f", Kind: tree.KindFile, Ino: 1, Flags: tree.Hashed, Size: 20_000, List: put(tree.EncodeList(chunks))}
		root, nodes, err := tree.EncodeDir([]tree.Entry{file})
		if err != nil {
			t.Fatal(err)
		}
		put(nodes[0].Data)
		lost := put([]byte("nobody needs it"))
		if err := s.Pin(ctx, "mount", root); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(time.Nanosecond)
		if st, err := s.Collect(ctx); err != nil || st.Removed != 1 || st.Reached != 22 {
			t.Errorf("collected %+v, %v, want 1 removed and 22 reached", st, err)
		}
		for i, here := range s.Has(ids) {
			b, err := s.Get(ctx, ids[i])
			if want := ids[i] != lost; here != want || (err == nil) != want || want && tree.IDOf(b) != ids[i] {
				t.Errorf("object %d: there %v, got %d bytes, %v", i, here, len(b), err)
			}
		}
		if st, err := s.Check(ctx, chunkstore.CheckOptions{ReadData: true, Report: func(p chunkstore.Problem) { t.Error(p) }}); err != nil || st.Read != 22 {
			t.Errorf("checked %+v, %v, want 22 read", st, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestS3PrefixesAreApart(t *testing.T) {
	servers(t, func(t *testing.T, srv server) {
		a, b := openS3(t, address(srv.host, "t/1")), openS3(t, address(srv.host, "t/11"))
		for _, x := range []place.Backend{a, b} {
			if err := x.PutAll(t.Context(), []place.Item{{Name: "a/x", Data: []byte("data")}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Delete(t.Context(), "a/x"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Get(t.Context(), "a/x", nil); err != nil {
			t.Errorf("the other's: %v", err)
		}
		err := a.List(t.Context(), "", func(i place.Info) error { return fmt.Errorf("listed %v", i) })
		if err != nil {
			t.Error(err)
		}
	})
}

func TestS3Foreign(t *testing.T) {
	credentialsOf(t, testUser, testSecret)
	host := inProcess(t).host
	client, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(testUser, testSecret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	const size = place.MaxItem + 1
	for key, n := range map[string]int64{"t/Not ours": 1, "t/a/b/c": 1, "t/a/large": size} {
		if _, err := client.PutObject(t.Context(), testBucket, key, io.LimitReader(zeros{}, n), n, minio.PutObjectOptions{DisableMultipart: true}); err != nil {
			t.Fatal(err)
		}
	}
	b := openS3(t, address(host, "t"))
	foreign := map[string]bool{}
	if err := b.List(t.Context(), "", func(i place.Info) error { foreign[i.Name] = i.Foreign; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(foreign) != 3 || !foreign["Not ours"] || !foreign["a/b/c"] || foreign["a/large"] {
		t.Errorf("listed %v", foreign)
	}
	if _, err := b.Get(t.Context(), "a/large", nil); !errors.Is(err, place.ErrDamaged) {
		t.Errorf("an object that is too large: got %v, want ErrDamaged", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestS3Refusals(t *testing.T) {
	servers(t, func(t *testing.T, srv server) {
		_, err := place.OpenS3(t.Context(), fmt.Sprintf("s3://%s/elsewhere?region=us-east-1&insecure=1", srv.host))
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `"elsewhere"`) {
			t.Errorf("no such bucket: got %v", err)
		}
	})
	t.Run("wrong_secret", func(t *testing.T) {
		credentialsOf(t, testUser, "another secret")
		if b, err := place.OpenS3(t.Context(), address(child(t).host, "t")); err == nil {
			t.Errorf("opened: %v", b)
		}
	})
	t.Run("no_credentials", func(t *testing.T) {
		credentialsOf(t, "", "")
		if _, err := place.OpenS3(t.Context(), address("127.0.0.1:1", "t")); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
			t.Errorf("got %v, want what to set", err)
		}
	})
	t.Run("credentials_file", func(t *testing.T) {
		credentialsOf(t, "", "")
		file := filepath.Join(t.TempDir(), "credentials")
		text := "[default]\naws_access_key_id = " + testUser + "\naws_secret_access_key = " + testSecret + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		openS3(t, address(inProcess(t).host, "t"))
	})
}

// answer stands for an object store that answers each request but the look for the bucket with an error.
func answer(t *testing.T, status int, code string) place.Backend {
	t.Helper()
	credentialsOf(t, testUser, testSecret)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>what it says</Message></Error>", code)
	}))
	t.Cleanup(srv.Close)
	return openS3(t, address(strings.TrimPrefix(srv.URL, "http://"), "t"))
}

func TestS3Errors(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{http.StatusInsufficientStorage, "XMinioStorageFull", place.ErrFull},
		{http.StatusForbidden, "QuotaExceeded", place.ErrFull},
		{http.StatusForbidden, "AccessDenied", nil},
	} {
		t.Run(c.code, func(t *testing.T) {
			b := answer(t, c.status, c.code)
			ctx := context.Background()
			err := b.PutAll(ctx, []place.Item{{Name: "a/x", Data: []byte("data")}})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), "a/x") {
				t.Errorf("got %v, want %v of a/x", err, c.want)
			}
			if c.want == nil && (errors.Is(err, place.ErrFull) || errors.Is(err, fs.ErrNotExist)) {
				t.Errorf("got %v, which says more than is known", err)
			}
		})
	}
}
