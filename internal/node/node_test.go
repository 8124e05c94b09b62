package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clonecloud/clonecloud/internal/analysis"
	"github.com/clonecloud/clonecloud/internal/device"
	"github.com/clonecloud/clonecloud/internal/engine"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
	"github.com/clonecloud/clonecloud/internal/engine/wazero"
	"github.com/clonecloud/clonecloud/internal/link"
	"github.com/clonecloud/clonecloud/internal/node"
	"github.com/clonecloud/clonecloud/internal/peer"
	"github.com/clonecloud/clonecloud/internal/runner"
	"github.com/clonecloud/clonecloud/internal/trust"
	"github.com/clonecloud/clonecloud/internal/vfs"
	"github.com/clonecloud/clonecloud/internal/wasi/local"
)

var interpreter = sync.OnceValues(func() (engine.Engine, error) { return wazero.New(wazero.Options{Mode: wazero.Interpreter}) })

// program is one that reads, computes, prints and writes files, and whose output follows from its input.
var program = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("../conformance/testdata/mix.wasm") })

// run runs the program with its functions forced onto dial's node, nil: none.
func run(ctx context.Context, t testing.TB, dial link.Dialer) (string, device.Report) {
	t.Helper()
	eng, err := interpreter()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OpenHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, err := runner.Run(ctx, runner.Config{
		Module: bin, Engine: eng, Args: []string{"mix"}, CanonicalNaN: true, Wait: 30 * time.Second, Dial: dial,
		Analysis: analysis.Options{Exclude: []string{"_start"}},
		Peer:     peer.Config{Grace: 2 * time.Second, Heartbeat: time.Second},
		Policy: func(*analysis.Report, []analysis.Func) device.Policy {
			f := device.NewForced(1, 3, 0)
			return f
		},
		Local: local.Config{
			Stdin: strings.NewReader("one\ntwo\nthree\n"), Stdout: &out, Stderr: &out, VirtualClock: true,
			Mounts: []local.Mount{{FS: dir, Guest: "/"}},
		},
		Log: func(f string, a ...any) { t.Logf("device: "+f, a...) },
	})
	if r == nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s%v", out.String(), err), r.Report
}

var alone = sync.OnceValue(func() func(testing.TB) string {
	var once sync.Once
	var out string
	return func(t testing.TB) string {
		once.Do(func() { out, _ = run(context.Background(), t, nil) })
		return out
	}
})

// merged counts the offloads that came to something.
func merged(r device.Report) int {
	done, _ := r.Offloads()
	return done
}

func TestOffload(t *testing.T) {
	for _, relay := range []bool{false, true} {
		t.Run(fmt.Sprintf("relay=%t", relay), func(t *testing.T) {
			n := startNode(t, func(c *node.Config) { c.Relay, c.Engine = relay, "compiler" })
			d := newClient(n.Node)
			for range 2 {
				out, r := run(t.Context(), t, d.dial)
				if want := alone()(t); out != want {
					t.Fatalf("got %q, want %q", out, want)
				}
				if merged(r) == 0 {
					t.Fatalf("nothing was offloaded: %+v", r)
				}
			}
			s := n.Status()
			if s.Devices != 1 || s.Relay != relay || s.Engine != "wazero-compiler" || s.Arch != runtime.GOARCH || s.Version != 1 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

// TestEngines: a node says which engines it has, leaves out what it cannot have, and a module that one does not take runs on
// another, with the reason in the log. What it measures outlives it.
func TestEngines(t *testing.T) {
	cache := t.TempDir()
	n := startNode(t, func(c *node.Config) { c.Engine, c.Cache = "picky none interpreter", cache })
	n.log.await("clones run on picky, wazero-interpreter")
	s := n.Status()
	if s.Engine != "picky" || !slices.Equal(s.Engines, []string{"picky", "wazero-interpreter"}) {
		t.Errorf("status: %+v", s)
	}
	out, r := run(t.Context(), t, newClient(n.Node).dial)
	if out != alone()(t) || merged(r) == 0 || r.Cloud != "wazero-interpreter "+runtime.GOARCH {
		t.Errorf("got %q, %+v", out, r)
	}
	for _, f := range r.Functions {
		if f.Engines["wazero-interpreter"] != f.Offloads {
			t.Errorf("%s: %d offloads, on %v", f.Name, f.Offloads, f.Engines)
		}
	}
	n.log.await("an engine is left out: there is no engine")
	n.log.await("runs on wazero-interpreter: picky: it has dragons")
	if err := n.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if kept, err := filepath.Glob(filepath.Join(cache, "measures", "*.json")); err != nil || len(kept) != 1 {
		t.Errorf("measures: %v, %v", kept, err)
	}
}

// refused checks how a device is refused.
func refused(t *testing.T, err error, code int, text string) {
	t.Helper()
	var s *trust.StatusError
	if !errors.As(err, &s) || s.Code != code || !strings.Contains(s.Text, text) {
		t.Errorf("got %v, want %d with %q", err, code, text)
	}
}

func TestRefusals(t *testing.T) {
	n := startNode(t, func(c *node.Config) { c.Limits.Links = 2; c.Limits.Devices = 1 })
	d, other := newClient(n.Node), newClient(n.Node)
	dialled := func(d *client, sni string, request []byte) error {
		t.Helper()
		conn, err := d.tls(t.Context(), sni)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = ask(conn, request)
		return err
	}
	request := func(token, id trust.Secret) []byte { return trust.RequestHeader("x.clonecloud", token, id) }
	good := request(d.addr.Token, d.id)

	t.Run("token", func(t *testing.T) {
		stranger := newClient(n.Node)
		stranger.addr.Token = trust.NewSecret()
		refused(t, dialled(stranger, stranger.sni(), request(stranger.addr.Token, stranger.id)), 401, "token")
		if n.Status().Devices != 0 {
			t.Error("a stranger got a worker")
		}
		refused(t, dialled(d, d.sni(), request(trust.NewSecret(), d.id)), 401, "token")
	})
	t.Run("route", func(t *testing.T) {
		refused(t, dialled(d, d.sni(), request(d.addr.Token, other.id)), 403, "another device")
	})
	t.Run("version", func(t *testing.T) {
		old := bytes.Replace(good, []byte(trust.Protocol), []byte("clonecloud/1"), 1)
		refused(t, dialled(d, d.sni(), old), 426, trust.Protocol)
		refused(t, dialled(d, trust.NodeName, old), 426, trust.Protocol)
	})
	t.Run("request", func(t *testing.T) {
		refused(t, dialled(d, d.sni(), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), 400, "serves")
		refused(t, dialled(d, d.sni(), append(bytes.Repeat([]byte("x"), 9000), "\r\n\r\n"...)), 400, "8 KiB")
		refused(t, dialled(d, trust.NodeName, good), 400, "name its device")
	})
	t.Run("links", func(t *testing.T) {
		var open []link.Link
		for range 2 {
			l, err := d.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, l)
		}
		_, err := d.dial(t.Context())
		refused(t, err, 429, "links")
		_, err = other.dial(t.Context())
		refused(t, err, 503, "as many devices")
		for _, l := range open {
			l.Close()
		}
		until(t, "the links are gone", func() bool { return n.Status().Links == 0 })
		l, err := d.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		until(t, "the link is gone", func() bool { return n.Status().Links == 0 })
		// A device that is away makes room for another.
		until(t, "another device is served", func() bool {
			l, err := other.dial(t.Context())
			if err == nil {
				l.Close()
			}
			return err == nil
		})
		n.log.await("another device needs its place")
	})
	s := n.Status()
	for _, reason := range []string{"token", "route", "version", "request", "links", "devices"} {
		if s.Refused[reason] == 0 {
			t.Errorf("nothing counted as refused for %s: %v", reason, s.Refused)
		}
	}
}

func TestStatus(t *testing.T) {
	n := startNode(t, nil)
	d := newClient(n.Node)
	code, body := d.get(t, "/v1/status", d.bearer())
	var s node.Status
	if err := json.Unmarshal([]byte(body), &s); code != 200 || err != nil || s.Version != 1 || s.Workers != 1 {
		t.Errorf("got %d %v %s", code, err, body)
	}
	for path, want := range map[string]int{"/v1/status": 401, "/": 404, "/v1/link": 426} {
		if code, body := d.get(t, path, http.Header{}); code != want {
			t.Errorf("%s without a token: got %d %q, want %d", path, code, body, want)
		}
	}
	bad := d.bearer()
	bad.Set("Authorization", "Bearer "+trust.NewSecret().Reveal())
	if code, _ := d.get(t, "/v1/status", bad); code != 401 {
		t.Errorf("with a wrong token: got %d", code)
	}
}

func TestRestart(t *testing.T) {
	for _, kind := range engines.Kinds() {
		if kind != engines.Interpreter { // has no code to keep
			t.Run(kind, func(t *testing.T) { testRestart(t, kind) })
		}
	}
}

// contents reads the files that a pattern matches.
func contents(t *testing.T, pattern string) map[string]string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(b)
	}
	return files
}

func testRestart(t *testing.T, kind string) {
	state := filepath.Join(t.TempDir(), "state")
	n := startNode(t, func(c *node.Config) { c.State, c.Engine = state, kind })
	first := n.Address()
	if _, err := node.Start(t.Context(), node.Config{Listen: "127.0.0.1:0", State: state}); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("a second node with the same folder: %v", err)
	}
	d := newClient(n.Node)
	run(t.Context(), t, d.dial)
	n.Close()
	sealed := contents(t, filepath.Join(state, "code", "*"))
	modules, _ := filepath.Glob(filepath.Join(state, "modules", "*"))
	if len(sealed) == 0 || len(modules) == 0 {
		t.Errorf("kept %d files of code and %d modules, want some", len(sealed), len(modules))
	}
	if left, _ := os.ReadDir(filepath.Join(state, "workers")); len(left) != 0 {
		t.Errorf("%d folders of workers are left", len(left))
	}
	if err := os.MkdirAll(filepath.Join(state, "workers", "99", "code"), 0o700); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, func(c *node.Config) { c.State, c.Engine = state, kind })
	n.log.await("removed what 1 workers")
	a := n.Address()
	if a.Token != first.Token || a.Pin != first.Pin {
		t.Error("the address is another after a restart")
	}
	d = &client{addr: a, id: d.id}
	if out, r := run(t.Context(), t, d.dial); out != alone()(t) || merged(r) == 0 {
		t.Errorf("after the restart: %q, %+v", out, r)
	}
	n.Close()
	if again := contents(t, filepath.Join(state, "code", "*")); !maps.Equal(again, sealed) { // what is put anew differs
		t.Errorf("%d files of code, %d before, or other contents: it was compiled again", len(again), len(sealed))
	}
}

func TestEphemeral(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	n := startNode(t, nil)
	n.Close()
	n.Close()
	if left, _ := os.ReadDir(tmp); runtime.GOOS != "windows" && len(left) != 0 {
		t.Errorf("%v is left of an ephemeral node", left)
	}
}

func TestNoWorker(t *testing.T) {
	for kind, want := range map[string]string{"none": "there is no engine", "crash": "exit status 7"} {
		log := newLogbook(t)
		n, err := node.Start(t.Context(), node.Config{Listen: "127.0.0.1:0", Engine: kind, Log: log.log})
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", kind, err, want)
		}
	}
	if _, err := node.Start(t.Context(), node.Config{Listen: "127.0.0.1:0", Worker: []string{"/no/such/command"}}); err == nil {
		t.Error("a command that is not there starts")
	}
	// Without warm workers a device is told.
	n := startNode(t, func(c *node.Config) { c.Warm, c.Engine = -1, "none" })
	_, err := newClient(n.Node).dial(t.Context())
	refused(t, err, 503, "no worker")
}
