package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const testName = "a.clonecloud"

func ephemeral(t *testing.T) *Authority {
	t.Helper()
	a, err := EphemeralAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, a *Authority, pub crypto.PublicKey, names ...string) [][]byte {
	t.Helper()
	chain, err := a.Sign(pub, names...)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// handshake returns what the client's end says, and the state it has then.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // net.Pipe has no room for both ends' last words
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = tls.Server(a, server).Handshake()
		_ = a.Close()
	})
	conn := tls.Client(b, client)
	err = conn.Handshake()
	_ = b.Close()
	wg.Wait()
	return conn.ConnectionState(), err
}

func TestHandshake(t *testing.T) {
	a, key := ephemeral(t), newKey(t)
	server := ServerConfig(sign(t, a, key.Public(), testName), key)
	state, err := handshake(t, server, ClientConfig(a.Pin(), testName, time.Now))
	if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "http/1.1" || state.ServerName != testName {
		t.Errorf("got %v, version %x, protocol %q, name %q", err, state.Version, state.NegotiatedProtocol, state.ServerName)
	}
	old := ClientConfig(a.Pin(), testName, time.Now)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, server, old); err == nil {
		t.Error("the node speaks TLS 1.2")
	}
	server.MinVersion, server.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, server, ClientConfig(a.Pin(), testName, time.Now)); err == nil {
		t.Error("the device speaks TLS 1.2")
	}
}

func TestPinning(t *testing.T) {
	a, other, key := ephemeral(t), ephemeral(t), newKey(t)
	good := sign(t, a, key.Public(), testName)
	foreign := sign(t, other, key.Public(), testName)
	custom := func(change func(c *x509.Certificate)) [][]byte {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{testName},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		}
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{der, a.cert.Raw}
	}
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	for name, c := range map[string]struct {
		chain [][]byte
		key   crypto.Signer
		now   func() time.Time
		want  error
		text  string
	}{
		"right":                 {chain: good},
		"plain":                 {chain: custom(func(*x509.Certificate) {})},
		"clock a bit slow":      {chain: good, now: at(-23 * time.Hour)},
		"clock a bit fast":      {chain: good, now: at(23 * time.Hour)},
		"other authority":       {chain: foreign, want: ErrPin, text: "presents another certificate than the address names"},
		"leaf alone":            {chain: good[:1], want: ErrPin},
		"authority alone":       {chain: good[1:], key: a.key, want: ErrChain},
		"pinned not the signer": {chain: [][]byte{foreign[0], a.cert.Raw}, want: ErrChain, text: "has not signed it"},
		"pinned not the last":   {chain: [][]byte{good[0], good[1], foreign[1]}, want: ErrPin},
		"chain of three":        {chain: [][]byte{foreign[0], foreign[1], good[1]}, want: ErrChain, text: "3 certificates"},
		"other name":            {chain: sign(t, a, key.Public(), "b.clonecloud"), want: ErrName, text: testName},
		"clock slow":            {chain: good, now: at(-25 * time.Hour), want: ErrDates, text: "holds only from"},
		"clock fast":            {chain: good, now: at(25 * time.Hour), want: ErrDates, text: "held until"},
		"clock at its start":    {chain: good, now: func() time.Time { return time.Unix(0, 0) }, want: ErrDates, text: "this machine's clock says 1970-01-01 00:00:00 UTC"},
		"for clients": {chain: custom(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), want: ErrChain, text: "not for servers"},
		"for nothing":   {chain: custom(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), want: ErrChain, text: "not for servers"},
		"sub-authority": {chain: custom(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }), want: ErrChain},
		"unknown critical extension": {chain: custom(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), want: ErrChain, text: "critical extension"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.now == nil {
				c.now = time.Now
			}
			if c.key == nil {
				c.key = key
			}
			_, err := handshake(t, ServerConfig(c.chain, c.key), ClientConfig(a.Pin(), testName, c.now))
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	a := ephemeral(t)
	if _, err := a.Sign(newKey(t).Public()); err == nil {
		t.Error("signed no name")
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range []crypto.PublicKey{nil, "key", p384.Public()} {
		if _, err := a.Sign(pub, testName); err == nil {
			t.Errorf("signed %T", pub)
		}
	}
}

func TestOpenAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var all [8]*Authority
	var wg sync.WaitGroup
	for i := range all { // as many processes would at their first start
		wg.Go(func() {
			a, err := OpenAuthority(dir)
			if err != nil {
				t.Error(err)
			}
			all[i] = a
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, a := range all {
		if a.Address("h:1") != all[0].Address("h:1") {
			t.Error("two starts at once made two authorities")
		}
	}
	a := all[0]
	if a.Pin() != sha256.Sum256(a.cert.Raw) || a.Token() == (Secret{}) {
		t.Error("no pin or no token")
	}
	if life := a.cert.NotAfter.Sub(a.cert.NotBefore); life < AuthorityLife {
		t.Errorf("valid for %v", life)
	}
	key := newKey(t)
	if _, err := handshake(t, ServerConfig(sign(t, all[1], key.Public(), testName), key), ClientConfig(a.Pin(), testName, time.Now)); err != nil {
		t.Error(err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 3 {
		t.Errorf("got %v, %v", list, err)
	}
	for name, want := range map[string]os.FileMode{"authority.key": 0o600, "token": 0o600, "authority.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s: %v, want mode %v", name, err, want)
		}
	}
}

func TestOpenAuthorityRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"key open to others": {func(dir string) error { return os.Chmod(filepath.Join(dir, "authority.key"), 0o644) }, "chmod 600"},
		"token open":         {func(dir string) error { return os.Chmod(filepath.Join(dir, "token"), 0o604) }, "chmod 600"},
		"key gone":           {func(dir string) error { return os.Remove(filepath.Join(dir, "authority.key")) }, "put the key back"},
		"key empty":          {func(dir string) error { return os.Truncate(filepath.Join(dir, "authority.key"), 0) }, "authority.key"},
		"certificate empty":  {func(dir string) error { return os.Truncate(filepath.Join(dir, "authority.pem"), 0) }, "authority.pem"},
		"token empty":        {func(dir string) error { return os.Truncate(filepath.Join(dir, "token"), 0) }, "token"},
		"other key": {func(dir string) error {
			text, err := newKeyPEM()
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "authority.key"), text, 0o600))
		}, "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && c.want == "chmod 600" {
				t.Skip("no modes")
			}
			dir := t.TempDir()
			if _, err := OpenAuthority(dir); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenAuthority(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
	dir := t.TempDir()
	first, err := OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	later := func() time.Time { return time.Now().Add(AuthorityLife + time.Hour) }
	if _, err := openAuthority(dir, later); !errors.Is(err, ErrDates) {
		t.Errorf("after its life: got %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "authority.pem")); err != nil { // a first start that ended in its midst
		t.Fatal(err)
	}
	if again, err := OpenAuthority(dir); err != nil || !again.key.Equal(first.key) || again.Token() != first.Token() {
		t.Errorf("got %v", err)
	}
}
