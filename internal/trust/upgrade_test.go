package trust

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRequest(t *testing.T) {
	token, device := NewSecret(), NewSecret()
	sni := SNI(token, NewRoute(token, device))
	b := append(RequestHeader(sni, token, device), "frames"...)
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || std.Host != sni || std.URL.Path != LinkPath || std.Header.Get("Upgrade") != Protocol {
		t.Errorf("net/http reads %v, %v", std, err)
	}
	for _, size := range []int{16, 4096} {
		r := bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(b)), size)
		got, err := ReadRequest(r)
		if want := (Request{Host: sni, Token: token, Device: device}); err != nil || got != want {
			t.Errorf("got %v, %v", got, err)
		}
		if rest, err := io.ReadAll(r); string(rest) != "frames" || err != nil {
			t.Errorf("behind it got %q, %v", rest, err)
		}
	}
	for n := range len(b) - len("frames") {
		if _, err := ReadRequest(bufio.NewReader(bytes.NewReader(b[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: got %v, want ErrUnexpectedEOF", n, err)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadRequest(bufio.NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestRequestRefused(t *testing.T) {
	token, device := NewSecret(), NewSecret()
	good := string(RequestHeader("a.clonecloud", token, device))
	for _, c := range []struct {
		old, new string
		want     int
	}{
		{"GET", "POST", 400},
		{"GET", "\x16\x03\x01", 400},
		{"/v1/link", "/", 400},
		{"HTTP/1.1", "HTTP/1.0", 400},
		{"Host: a.clonecloud\r\n", "", 400},
		{"Host", "Ho st", 400},
		{"Host: ", "Host", 400},
		{"Host: ", "Host: a\r\nhost: ", 400},
		{"Host: ", " folded\r\nHost: ", 400},
		{"Host: ", "X: \x01\r\nHost: ", 400},
		{"Host: ", "Content-Length: 1\r\nHost: ", 400},
		{"Host: ", "Transfer-Encoding: chunked\r\nHost: ", 400},
		{"Host: ", strings.Repeat("X", 9000) + ": \r\nHost: ", 400},
		{"Host: ", strings.Repeat("X", 9000), 400},
		{"Connection: Upgrade", "Connection: close", 426},
		{"Upgrade: clonecloud/2", "Upgrade: clonecloud/1", 426},
		{"Upgrade: clonecloud/2\r\n", "", 426},
		{"Authorization: Bearer " + token.Reveal() + "\r\n", "", 401},
		{"Bearer", "Basic", 401},
		{token.Reveal(), token.Reveal()[1:], 401},
		{device.Reveal(), "x", 400},
		{DeviceHeader, "Device", 400},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		_, err := ReadRequest(bufio.NewReader(strings.NewReader(text)))
		var e *StatusError
		if !errors.As(err, &e) || e.Code != c.want || e.Text == "" || strings.Contains(err.Error(), token.Reveal()[1:]) {
			t.Errorf("%q for %q: got %v, want %d", c.new, c.old, err, c.want)
		}
	}
	for old, new := range map[string]string{
		"Connection: Upgrade": "connection: keep-alive,  upgrade", "Bearer ": "bearer  ", "Host: ": "X-Other: a\r\nHOST:\t", "\r\n": "\n",
	} {
		if _, err := ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(good, old, new)))); err != nil {
			t.Errorf("%q for %q: got %v", new, old, err)
		}
	}
}

func TestAnswer(t *testing.T) {
	var b bytes.Buffer
	if err := WriteAccepted(&b); err != nil {
		t.Fatal(err)
	}
	b.WriteString("frames")
	r := bufio.NewReader(iotest.OneByteReader(&b))
	if err := ReadAnswer(r); err != nil {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "frames" {
		t.Errorf("behind it got %q", rest)
	}
	for _, c := range []struct{ text, want string }{
		{"wrong token", "wrong token"},
		{"two\r\nlines\x1b[2J\xff", "two  lines?[2J?"},
		{strings.Repeat("x", 1000), strings.Repeat("x", 300)},
		{"", "Unauthorized"},
	} {
		b.Reset()
		if err := WriteRefused(&b, 401, c.text); err != nil {
			t.Fatal(err)
		}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b.Bytes())), nil)
		if err != nil || std.StatusCode != 401 || !std.Close || std.Header.Get("Www-Authenticate") == "" {
			t.Errorf("net/http reads %v, %v", std, err)
		} else if body, err := io.ReadAll(std.Body); err != nil || strings.Count(string(body), "\n") != 1 {
			t.Errorf("net/http reads %q, %v", body, err)
		} else if err := std.Body.Close(); err != nil {
			t.Error(err)
		}
		// Nothing is read behind the text: the node may hold the connection open.
		r := bufio.NewReader(io.MultiReader(&b, iotest.ErrReader(errors.New("read too much"))))
		var e *StatusError
		if err := ReadAnswer(r); !errors.As(err, &e) || e.Code != 401 || e.Text != c.want {
			t.Errorf("got %v, want 401 with %q", err, c.want)
		}
	}
}

func TestAnswerRefused(t *testing.T) {
	const header = "Content-Type: text/plain\r\n"
	for _, c := range []struct {
		text string
		code int // 0: an error that is no *StatusError
		want string
	}{
		{"", 0, "unexpected EOF"},
		{"SSH-2.0-x\r\n\r\n", 0, "not HTTP"},
		{"HTTP/1.1 abc\r\n\r\n", 0, "not HTTP"},
		{"HTTP/1.1 99\r\n\r\n", 0, "not HTTP"},
		{"HTTP/1.1 0101 x\r\n\r\n", 0, "not HTTP"},
		{"HTTP/1.1 101 x\r\n\r\n", 0, "does not switch"},
		{"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", 0, "does not switch"},
		{"HTTP/1.1 101 x\r\nbad\r\n\r\n", 0, "cannot be read"},
		{"HTTP/1.1 101 x\r\nX: " + strings.Repeat("x", 9000), 0, "longer"},
		{"HTTP/1.1 200 OK\r\n\r\n", 200, "OK"},
		{"HTTP/1.1 503\r\n" + header + "\r\nfull\n", 503, "full"},
		{"HTTP/1.1 503\r\nContent-Length: 2\r\n\r\nfull\n", 503, "fu"},
		{"HTTP/1.1 503\r\nContent-Length: 9999999999999999999999\r\n\r\nfull\n", 503, "full"},
		{"HTTP/1.0 503\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfull\n\r\n", 503, "Service Unavailable"},
	} {
		err := ReadAnswer(bufio.NewReader(strings.NewReader(c.text)))
		var e *StatusError
		code := 0
		if errors.As(err, &e) {
			code = e.Code
		}
		if err == nil || code != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: got %v, want %d with %q", c.text, err, c.code, c.want)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(RequestHeader("a.clonecloud", NewSecret(), NewSecret()))
	f.Add([]byte("GET /v1/link HTTP/1.1\nhost:a\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		r := bufio.NewReaderSize(src, 64)
		got, err := ReadRequest(r)
		if read := len(b) - src.Len() - r.Buffered(); read > maxHeader+64 {
			t.Errorf("read %d bytes", read)
		}
		var e *StatusError
		switch {
		case err == nil:
			again, err := ReadRequest(bufio.NewReader(bytes.NewReader(RequestHeader(got.Host, got.Token, got.Device))))
			if err != nil || again != got {
				t.Errorf("got %v, %v, want %v", again, err, got)
			}
		case !errors.As(err, &e) && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Error(err)
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	var b bytes.Buffer
	_ = WriteAccepted(&b)
	f.Add(b.Bytes())
	b.Reset()
	_ = WriteRefused(&b, 503, "full")
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		err := ReadAnswer(bufio.NewReader(bytes.NewReader(b)))
		var e *StatusError
		if errors.As(err, &e) && (len(e.Text) > maxText || e.Code < 100 || e.Code > 599 || line(e.Text) != e.Text) {
			t.Errorf("got %d %q", e.Code, e.Text)
		}
	})
}
