package trust

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// What the upgrade says.
const (
	LinkPath     = "/v1/link"          // where a link is asked for
	Protocol     = "clonecloud/2"      // what it is
	DeviceHeader = "Clonecloud-Device" // who asks
)

const (
	maxHeader = 8 << 10
	maxText   = 300 // of a refusal
)

// StatusError is a refusal: what ReadRequest says of a request, for WriteRefused, and what ReadAnswer got.
type StatusError struct {
	Code int    // of HTTP
	Text string // one line that says why
}

// Error returns code and text.
func (e *StatusError) Error() string { return strconv.Itoa(e.Code) + ": " + e.Text }

// Request is what a device asks with.
type Request struct {
	Host          string
	Token, Device Secret
}

// RequestHeader returns the request for a link, to which frames may be appended.
func RequestHeader(sni string, token, device Secret) []byte {
	return []byte("GET " + LinkPath + " HTTP/1.1\r\nHost: " + sni + "\r\nConnection: Upgrade\r\nUpgrade: " + Protocol +
		"\r\nAuthorization: Bearer " + token.Reveal() + "\r\n" + DeviceHeader + ": " + device.Reveal() + "\r\n\r\n")
}

// ReadRequest reads a request for a link and nothing behind it. A *StatusError says what is wrong with it; any other
// error is r's. That the token is the right one and the device the expected one is for the caller to check.
func ReadRequest(r *bufio.Reader) (Request, error) {
	first, fields, err := readHeader(r)
	if err != nil {
		return Request{}, err
	}
	if first != "GET "+LinkPath+" HTTP/1.1" {
		return Request{}, refuse(http.StatusBadRequest, "this name serves GET "+LinkPath+" over HTTP/1.1 and nothing else")
	}
	if _, ok := fields["content-length"]; ok {
		return Request{}, refuse(http.StatusBadRequest, "the request has a body")
	}
	if _, ok := fields["transfer-encoding"]; ok {
		return Request{}, refuse(http.StatusBadRequest, "the request has a body")
	}
	req := Request{Host: fields["host"]}
	if req.Host == "" {
		return Request{}, refuse(http.StatusBadRequest, "the request names no host")
	}
	if fields["upgrade"] != Protocol || !hasToken(fields["connection"], "upgrade") {
		return Request{}, refuse(http.StatusUpgradeRequired, "this node speaks "+Protocol+", and the request does not ask for it")
	}
	token, ok := ParseBearer(fields["authorization"])
	if !ok {
		return Request{}, refuse(http.StatusUnauthorized, "the request has no token")
	}
	req.Token = token
	if req.Device, err = ParseSecret(fields[strings.ToLower(DeviceHeader)]); err != nil {
		return Request{}, refuse(http.StatusBadRequest, "the request names no device")
	}
	return req, nil
}

// ParseBearer reads the value of an Authorization header.
func ParseBearer(value string) (Secret, bool) {
	kind, text, _ := strings.Cut(value, " ")
	if !strings.EqualFold(kind, "bearer") {
		return Secret{}, false
	}
	s, err := ParseSecret(strings.TrimLeft(text, " "))
	return s, err == nil
}

// WriteAccepted answers that frames follow.
func WriteAccepted(w io.Writer) error {
	_, err := io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+Protocol+"\r\n\r\n")
	return err
}

// WriteRefused answers that there will be no link, and why; the connection is to be closed after it.
func WriteRefused(w io.Writer, status int, text string) error {
	text = line(text) + "\n"
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n",
		status, http.StatusText(status), len(text))
	switch status {
	case http.StatusUnauthorized:
		b.WriteString("WWW-Authenticate: Bearer\r\n")
	case http.StatusUpgradeRequired:
		b.WriteString("Upgrade: " + Protocol + "\r\n")
	}
	b.WriteString("\r\n" + text)
	_, err := w.Write(b.Bytes())
	return err
}

// ReadAnswer reads the answer to a request for a link, and nothing behind it if that is 101. Any other answer is a
// *StatusError; other errors are r's, or tell that it was no answer.
func ReadAnswer(r *bufio.Reader) error {
	first, fields, err := readHeader(r)
	if e := (*StatusError)(nil); errors.As(err, &e) {
		return fmt.Errorf("read answer: %s", e.Text) // our judgement, not the node's
	}
	if err != nil {
		return err
	}
	proto, rest, _ := strings.Cut(first, " ")
	number, _, _ := strings.Cut(rest, " ")
	code, err := strconv.ParseUint(number, 10, 16)
	if proto != "HTTP/1.1" && proto != "HTTP/1.0" || err != nil || len(number) != 3 || code < 100 || code > 599 {
		return errors.New("read answer: it is not HTTP")
	}
	if code == http.StatusSwitchingProtocols {
		if fields["upgrade"] != Protocol {
			return fmt.Errorf("read answer: the node does not switch to %s", Protocol)
		}
		return nil
	}
	text := readText(r, fields)
	if text == "" {
		text = http.StatusText(int(code))
	}
	return &StatusError{Code: int(code), Text: text}
}

// readText reads the text of a refusal as far as it comes; the status was read, and counts even without it.
func readText(r *bufio.Reader, fields map[string]string) string {
	if fields["transfer-encoding"] != "" {
		return ""
	}
	limit := int64(maxText)
	if n, err := strconv.ParseUint(fields["content-length"], 10, 63); err == nil {
		limit = min(limit, int64(n))
	}
	b, _ := io.ReadAll(io.LimitReader(r, limit))
	return line(string(b))
}

// line makes one printable line of at most maxText bytes.
func line(text string) string {
	b := make([]byte, 0, min(len(text), maxText))
	for i := 0; i < len(text) && len(b) < maxText; i++ {
		switch c := text[i]; {
		case ' ' <= c && c <= '~':
			b = append(b, c)
		case c == '\n' || c == '\t' || c == '\r':
			b = append(b, ' ')
		default:
			b = append(b, '?')
		}
	}
	return string(bytes.TrimSpace(b))
}

func refuse(code int, text string) error { return &StatusError{Code: code, Text: text} }

var (
	errLongHeader = refuse(http.StatusBadRequest, "the header is longer than 8 KiB")
	errBadHeader  = refuse(http.StatusBadRequest, "the header cannot be read")
)

// readHeader reads up to the first empty line: the first line, and the fields by their names in lower case. A field may
// be there once only: none that we know has a meaning twice.
func readHeader(r *bufio.Reader) (first string, fields map[string]string, err error) {
	left := maxHeader
	if first, err = readLine(r, &left); err != nil {
		return "", nil, err
	}
	fields = map[string]string{}
	for {
		text, err := readLine(r, &left)
		if err != nil {
			return "", nil, err
		}
		if text == "" {
			return first, fields, nil
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || !isToken(name) {
			return "", nil, errBadHeader
		}
		name = strings.ToLower(name)
		if _, ok := fields[name]; ok {
			return "", nil, refuse(http.StatusBadRequest, "the header has a field twice")
		}
		fields[name] = strings.Trim(value, " \t")
	}
}

// readLine reads a line without its end, and takes its length off what is left.
func readLine(r *bufio.Reader, left *int) (string, error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", errLongHeader
		}
		b = append(b, part...)
		switch {
		case err == nil:
			b = bytes.TrimSuffix(b[:len(b)-1], []byte{'\r'})
			for _, c := range b {
				if c < ' ' && c != '\t' || c == 0x7f {
					return "", errBadHeader
				}
			}
			return string(b), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("read header: %w", io.ErrUnexpectedEOF)
		default:
			return "", fmt.Errorf("read header: %w", err)
		}
	}
}

// isToken tells whether text may be a field's name.
func isToken(text string) bool {
	for _, c := range []byte(text) {
		if !nameByte(c) || c == '.' {
			return false
		}
	}
	return text != ""
}

// hasToken tells whether a list with commas has the word, whatever its case.
func hasToken(list, word string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(item), word) {
			return true
		}
	}
	return false
}
