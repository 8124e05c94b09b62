package trust

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	a := Address{Token: NewSecret(), Pin: NewSecret()}
	for _, host := range []string{"node.example:7311", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:7311", "my_host:80"} {
		a.Host = host
		got, err := ParseAddress(" " + a.String() + "\n")
		if err != nil || got != a {
			t.Errorf("%s: got %v, %v", host, got, err)
		}
		if strings.Contains(a.Redacted(), a.Token.Reveal()) || !strings.Contains(a.Redacted(), host) {
			t.Errorf("redacted: %s", a.Redacted())
		}
	}
}

func TestAddressErrors(t *testing.T) {
	token := NewSecret().Reveal()
	pin := "sha256:" + strings.Repeat("ab", 32)
	good := "clonecloud://h:1/?token=" + token + "&cert=" + pin
	if _, err := ParseAddress(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"", "begin with clonecloud://"},
		{"https://h:1/?token=" + token, "begin with clonecloud://"},
		{strings.Repeat(token, 100), "characters"},
		{"clonecloud://h:1", "no token= and no cert="},
		{"clonecloud://h:1/token=" + token + "&cert=" + pin, "no token="},
		{"clonecloud://h:1/token=" + token + "?cert=" + pin, "port"},
		{"clonecloud://" + token + "?cert=" + pin, "HOST:PORT"},
		{"clonecloud://" + token + ":1" + token + "?cert=" + pin, "port"},
		{"clonecloud:///?token=" + token + "&cert=" + pin, "HOST:PORT"},
		{"clonecloud://h/?token=" + token + "&cert=" + pin, "HOST:PORT"},
		{"clonecloud://::1:7/?token=" + token + "&cert=" + pin, "HOST:PORT"},
		{"clonecloud://[h]:7/?token=" + token + "&cert=" + pin, "host"},
		{"clonecloud://" + token + "@h:7/?token=" + token + "&cert=" + pin, "host"},
		{"clonecloud://h\x00:7/?token=" + token + "&cert=" + pin, "host"},
		{"clonecloud://h:0/?token=" + token + "&cert=" + pin, "port"},
		{"clonecloud://h:65536/?token=" + token + "&cert=" + pin, "port"},
		{"clonecloud://h:1/?cert=" + pin, "no token="},
		{"clonecloud://h:1/?token=" + token, "quotes"},
		{"clonecloud://h:1/?token=" + token + "&cert=", "no cert="},
		{"clonecloud://h:1/?token=%zz" + token + "&cert=" + pin, "cannot be read"},
		{good + "&token=" + token, "twice"},
		{good + "&" + token, "besides"},
		{"clonecloud://h:1/?token=x" + token + "&cert=" + pin, "token has 44"},
		{"clonecloud://h:1/?token=*" + token[1:] + "&cert=" + pin, "token is not base64url"},
		{"clonecloud://h:1/?token=" + token[:42] + "%0a&cert=" + pin, "token is not base64url"},
		{"clonecloud://h:1/?token=" + token + "&cert=" + token, "sha256:"},
		{"clonecloud://h:1/?token=" + token + "&cert=" + pin + "a", "65 digits"},
		{"clonecloud://h:1/?token=" + token + "&cert=" + pin[:70] + "z", "hexadecimal"},
	} {
		_, err := ParseAddress(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want one with %q", c.text, err, c.want)
		} else if strings.Contains(err.Error(), token[1:20]) {
			t.Errorf("%q: the error has the token: %v", c.text, err)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	s := NewSecret()
	a := Address{Host: "h:1", Token: s}
	type holder struct {
		S *Secret
		A Address
	}
	h := holder{&s, a}
	var b strings.Builder
	for _, x := range []any{s, &s, a, &a, h, []Secret{s}, map[Secret]Address{s: a}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d", "%X"} {
			fmt.Fprintf(&b, verb+"\n", x)
		}
		if err := json.NewEncoder(&b).Encode(x); err != nil {
			t.Error(err)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "x", x)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "x", x)
	}
	text := b.String() + s.String() + s.GoString() + a.GoString()
	for _, form := range []string{s.Reveal(), fmt.Sprintf("%x", s[:]), fmt.Sprintf("%X", s[:]), strings.Trim(fmt.Sprintf("%v", s[:]), "[]"),
		strings.Join(strings.Fields(strings.Trim(fmt.Sprintf("%v", s[:]), "[]")), ",")} {
		if strings.Contains(text, form) {
			t.Errorf("printed as %s", form)
		}
	}
}

func TestSecret(t *testing.T) {
	s := NewSecret()
	got, err := ParseSecret(s.Reveal())
	if err != nil || !got.Equal(s) || got.Equal(NewSecret()) || got.Sum() != s.Sum() {
		t.Errorf("got %v, equal %v", err, got.Equal(s))
	}
	for _, text := range []string{"", s.Reveal()[1:], s.Reveal() + "=", strings.Repeat("+", 43), strings.Repeat("A", 41) + "\r\n", strings.Repeat("A", 42) + "B"} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestDeviceKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "device.key")
	one, err := DeviceKey(path)
	two, err2 := DeviceKey(path)
	if err != nil || err2 != nil || one != two || one == (Secret{}) {
		t.Errorf("got %v, %v, the same: %v", err, err2, one == two)
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("clonecloud://h:1/?token=" + NewSecret().Reveal() + "&cert=sha256:" + strings.Repeat("ab", 32))
	f.Add("clonecloud://[::1%25e]:1?token=&cert=")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%q: got %v, %v", a.String(), again, err)
		}
	})
}
