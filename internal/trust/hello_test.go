package trust

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// helloFrom returns the first bytes that a client sends.
func helloFrom(tb testing.TB, config *tls.Config) []byte {
	tb.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(client, config).Handshake()
	}()
	head := make([]byte, recordHeader)
	if _, err := io.ReadFull(server, head); err != nil {
		tb.Fatal(err)
	}
	b := append(head, make([]byte, binary.BigEndian.Uint16(head[3:]))...)
	if _, err := io.ReadFull(server, b[recordHeader:]); err != nil {
		tb.Fatal(err)
	}
	_ = client.Close()
	_ = server.Close()
	<-done
	return b
}

// split cuts a record into records of n bytes.
func split(hello []byte, n int) []byte {
	var b []byte
	for rest := hello[recordHeader:]; len(rest) > 0; {
		part := rest[:min(n, len(rest))]
		rest = rest[len(part):]
		b = append(b, hello[:3]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	return b
}

func TestServerName(t *testing.T) {
	token := NewSecret()
	sni := SNI(token, NewRoute(token, NewSecret()))
	hello := helloFrom(t, ClientConfig([32]byte{}, sni, time.Now))
	nameless := helloFrom(t, &tls.Config{InsecureSkipVerify: true})
	old := helloFrom(t, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12})
	for name, c := range map[string]struct {
		hello []byte
		want  string
	}{
		"one record":   {hello, sni},
		"two records":  {split(hello, len(hello)/2), sni},
		"tiny records": {split(hello, 3), sni},
		"no name":      {nameless, ""},
		"version 1.2":  {old, "a.example"},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range c.hello {
				if got, complete, err := ServerName(c.hello[:n]); got != "" || complete || err != nil {
					t.Fatalf("%d bytes of %d: got %q, %v, %v", n, len(c.hello), got, complete, err)
				}
			}
			for _, more := range []string{"", "\x14", "\x16", "\x17\x03\x03\x00\x05hello", strings.Repeat("x", 2*MaxHello)} {
				if got, complete, err := ServerName(append(bytes.Clone(c.hello), more...)); got != c.want || !complete || err != nil {
					t.Errorf("and %d bytes more: got %q, %v, %v, want %q", len(more), got, complete, err, c.want)
				}
			}
		})
	}
}

func TestServerNameRefuses(t *testing.T) {
	hello := helloFrom(t, &tls.Config{ServerName: "a.example"})
	change := func(at int, c byte) []byte {
		b := bytes.Clone(hello)
		b[at] = c
		return b
	}
	at := bytes.Index(hello, []byte("a.example"))
	for name, b := range map[string][]byte{
		"plain HTTP":         []byte("GET / HTTP/1.1\r\n"),
		"one byte":           {0},
		"SSL 2":              {0x80, 0x2e, 1, 3, 1},
		"other version":      change(1, 2),
		"alert":              change(0, 21),
		"server hello":       change(recordHeader, 2),
		"empty record":       {22, 3, 1, 0, 0},
		"record too long":    {22, 3, 1, 0xff, 0xff},
		"hello too long":     {22, 3, 1, 0x40, 0, 1, 1, 0, 0},
		"endless":            append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x40, 0}, make([]byte, MaxHello)...),
		"hello ends early":   change(recordHeader+3, hello[recordHeader+3]-1),
		"NUL in the name":    change(at, 0),
		"name type":          change(at-3, 1),
		"name longer":        change(at-1, 10),
		"name shorter":       change(at-1, 8),
		"list longer":        change(at-4, 13),
		"long session":       change(recordHeader+helloHeader+34, 255),
		"then another thing": append(split(hello, 10)[:15], "GET / HTTP"...),
	} {
		t.Run(name, func(t *testing.T) {
			if got, complete, err := ServerName(b); err == nil || complete || got != "" {
				t.Errorf("got %q, %v, %v", got, complete, err)
			}
		})
	}
}

func FuzzServerName(f *testing.F) {
	hello := helloFrom(f, &tls.Config{ServerName: "a.example"})
	f.Add(hello)
	f.Add(split(hello, 100))
	f.Add(hello[:200])
	f.Add(helloFrom(f, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, complete, err := ServerName(b)
		if err != nil && (complete || name != "") || !complete && name != "" {
			t.Errorf("got %q, %v, %v", name, complete, err)
		}
		if len(b) >= MaxHello && !complete && err == nil {
			t.Error("wants more than MaxHello")
		}
		for n := 0; n < len(b); n += 1 + len(b)/16 { // what a beginning says, the whole does not take back
			early, ok, bad := ServerName(b[:n])
			if ok && (early != name || !complete) || bad != nil && err == nil {
				t.Errorf("%d of %d bytes: got %q, %v, %v; then %q, %v, %v", n, len(b), early, ok, bad, name, complete, err)
			}
		}
	})
}
