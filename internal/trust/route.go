package trust

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Route names a device to a node. Who does not know the token cannot make one, nor tell the device from it.
type Route [16]byte

const (
	tagBytes = 10
	suffix   = ".clonecloud"
)

// NodeName is the name under which the daemon itself answers.
const NodeName = "node" + suffix

var label = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewRoute returns the route of a device.
func NewRoute(token, device Secret) Route {
	h := sha256.New()
	h.Write([]byte("clonecloud route\x00"))
	h.Write(token[:])
	h.Write(device[:])
	return Route(h.Sum(nil)[:len(Route{})])
}

// SNI returns the server name that a device of this route asks for.
func SNI(token Secret, route Route) string {
	t := tag(token, route)
	return label.EncodeToString(append(route[:], t[:]...)) + suffix
}

// ParseSNI returns the route that a server name stands for; false: the name is none of this token's. How long it takes
// does not depend on how much of the tag is right.
func ParseSNI(token Secret, sni string) (Route, bool) {
	var b [len(Route{}) + tagBytes]byte
	text, ok := strings.CutSuffix(sni, suffix)
	if !ok || len(text) != label.EncodedLen(len(b)) {
		return Route{}, false
	}
	n, err := label.Decode(b[:], []byte(text))
	if err != nil || n != len(b) {
		return Route{}, false
	}
	route := Route(b[:len(Route{})])
	want := tag(token, route)
	if !hmac.Equal(b[len(route):n], want[:]) || label.EncodeToString(b[:n]) != text { // one name for one route
		return Route{}, false
	}
	return route, true
}

func tag(token Secret, route Route) [tagBytes]byte {
	h := sha256.New()
	h.Write([]byte("clonecloud tag\x00"))
	h.Write(token[:])
	m := hmac.New(sha256.New, h.Sum(nil))
	m.Write(route[:])
	return [tagBytes]byte(m.Sum(nil)[:tagBytes])
}
