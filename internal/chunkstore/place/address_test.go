package place

import (
	"strings"
	"testing"
)

func TestParseS3(t *testing.T) {
	for addr, want := range map[string]s3Address{
		"s3://h/b":                           {endpoint: "h", bucket: "b"},
		"s3://h:9000/b/":                     {endpoint: "h:9000", bucket: "b"},
		"s3://h/b/p/q/":                      {endpoint: "h", bucket: "b", prefix: "p/q/"},
		"s3://h/b/p?region=eu&style=virtual": {endpoint: "h", bucket: "b", prefix: "p/", region: "eu", virtual: true},
		"s3://[::1]:9/b?insecure=true":       {endpoint: "[::1]:9", bucket: "b", insecure: true},
	} {
		got, err := parseS3(addr)
		if err != nil || *got != want {
			t.Errorf("%s: got %+v, %v, want %+v", addr, got, err, want)
		}
	}
	for _, addr := range []string{
		"", "s3:", "s3:b", "s3://", "s3:///b", "s3://h", "s3://h/", "s3://h//p", "http://h/b", "s3://h/b/../c", "s3://h/b/a//c", "s3://h/b/./c",
		"s3://h/b?x=1", "s3://h/b?insecure=perhaps", "s3://h/b?region=", "s3://h/b?region=a&region=b", "s3://h/b?style=old", "s3://h/b#f", "s3://h/b?%zz", "s3://h:x/b",
	} {
		if got, err := parseS3(addr); err == nil {
			t.Errorf("%q: read as %+v", addr, got)
		}
	}
	for _, addr := range []string{"s3://user:geheim@h/b", "s3://h/b?secret=geheim", "s3://h/b?%zz=geheim"} {
		if _, err := parseS3(addr); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v, want an error that keeps the secret", addr, err)
		}
	}
}

func FuzzParseS3(f *testing.F) {
	f.Add("s3://h:1/b/p?region=r&insecure=1")
	f.Fuzz(func(t *testing.T, addr string) {
		a, err := parseS3(addr)
		if err != nil {
			return
		}
		if a.endpoint == "" || a.bucket == "" || a.prefix != "" && !strings.HasSuffix(a.prefix, "/") || strings.HasPrefix(a.prefix, "/") {
			t.Fatalf("%q: read as %+v", addr, a)
		}
	})
}
