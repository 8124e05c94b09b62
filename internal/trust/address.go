package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const (
	scheme    = "clonecloud"
	pinPrefix = "sha256:"
)

// Address is all that a device needs to reach a node and to know it again:
//
//	clonecloud://HOST:PORT/?token=BASE64URL(32 bytes)&cert=sha256:HEX(SHA-256 of the authority's certificate in DER)
//
// String alone has the token: fmt, log/slog and encoding/json print what Redacted returns.
type Address struct {
	Host  string // host:port, IPv6 in brackets
	Token Secret
	Pin   [32]byte // SHA-256 of the authority's certificate
}

// ParseAddress reads what String wrote. Its errors say what is wrong and repeat nothing of the text: a token may
// have slipped to any place of it.
func ParseAddress(text string) (Address, error) {
	a, err := parseAddress(strings.TrimSpace(text))
	if err != nil {
		return Address{}, fmt.Errorf("parse cloud address: %w", err)
	}
	return a, nil
}

const maxAddress = 1024

func parseAddress(text string) (Address, error) {
	if len(text) > maxAddress {
		return Address{}, fmt.Errorf("has %d characters, more than %d", len(text), maxAddress)
	}
	rest, ok := strings.CutPrefix(text, scheme+"://")
	if !ok {
		return Address{}, fmt.Errorf("does not begin with %s://", scheme)
	}
	host, query, ok := strings.Cut(rest, "?")
	if !ok {
		return Address{}, errors.New("has no token= and no cert=")
	}
	host = strings.TrimSuffix(host, "/")
	if err := checkHost(host); err != nil {
		return Address{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Address{}, errors.New("what follows the ? cannot be read") // err repeats it
	}
	for name, list := range values {
		switch {
		case name != "token" && name != "cert":
			return Address{}, errors.New("has a parameter besides token= and cert=")
		case len(list) > 1:
			return Address{}, fmt.Errorf("has %s= twice", name)
		}
	}
	if values.Get("token") == "" {
		return Address{}, errors.New("has no token=")
	}
	if values.Get("cert") == "" {
		return Address{}, errors.New("has no cert= (in a shell an address must stand in quotes, for its &)")
	}
	a := Address{Host: host}
	if a.Token, err = ParseSecret(values.Get("token")); err != nil {
		return Address{}, fmt.Errorf("token %w", err)
	}
	digest, ok := strings.CutPrefix(values.Get("cert"), pinPrefix)
	if !ok {
		return Address{}, fmt.Errorf("cert does not begin with %s", pinPrefix)
	}
	if len(digest) != hex.EncodedLen(len(a.Pin)) {
		return Address{}, fmt.Errorf("cert has %d digits, not %d", len(digest), hex.EncodedLen(len(a.Pin)))
	}
	if _, err := hex.Decode(a.Pin[:], []byte(digest)); err != nil {
		return Address{}, errors.New("cert has other characters than hexadecimal digits")
	}
	return a, nil
}

// checkHost wants host:port with both there, in the one way that net.JoinHostPort writes it.
func checkHost(hostport string) error {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host == "" || port == "" {
		return errors.New("has no HOST:PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("the port is not a number from 1 to 65535")
	}
	for _, c := range []byte(host) {
		if !nameByte(c) && c != ':' && c != '%' {
			return errors.New("the host has characters that no host has")
		}
	}
	if net.JoinHostPort(host, port) != hostport {
		return errors.New("the host is not as it is written before a port (IPv6 stands in brackets)")
	}
	return nil
}

// nameByte tells whether c may stand in a host's name.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
}

// String returns the address with its token, as ParseAddress reads it.
func (a Address) String() string { return a.text(a.Token.Reveal()) }

// Redacted returns the address without its token, for logs and messages.
func (a Address) Redacted() string { return a.text(hidden) }

func (a Address) text(token string) string {
	return scheme + "://" + a.Host + "/?token=" + token + "&cert=" + pinPrefix + hex.EncodeToString(a.Pin[:])
}

// GoString hides the token.
func (a Address) GoString() string { return a.Redacted() }

// Format hides the token under every verb.
func (a Address) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.Redacted()) }

// LogValue hides the token.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.Redacted()) }

// MarshalText hides the token; what is to be kept is String's.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.Redacted()), nil }
