package trust

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	token, device := NewSecret(), NewSecret()
	route := NewRoute(token, device)
	if sum := sha256.Sum256(append(append([]byte("clonecloud route\x00"), token[:]...), device[:]...)); route != Route(sum[:16]) {
		t.Error("the route is not as the package comment says")
	}
	if route == NewRoute(token, NewSecret()) || route == NewRoute(NewSecret(), device) {
		t.Error("the route does not depend on both")
	}
	sni := SNI(token, route)
	if name, ok := strings.CutSuffix(sni, ".clonecloud"); !ok || len(name) != 42 {
		t.Errorf("got %q", sni)
	}
	if got, ok := ParseSNI(token, sni); !ok || got != route {
		t.Errorf("got %x, %v, want %x", got, ok, route)
	}
	if _, ok := ParseSNI(NewSecret(), sni); ok {
		t.Error("taken with another token")
	}
	for i := range 42 { // every character matters, also the last one's spare bits
		for _, c := range "abcdefghijklmnopqrstuvwxyz234567AZ01.\n" {
			if c == rune(sni[i]) {
				continue
			}
			if _, ok := ParseSNI(token, sni[:i]+string(c)+sni[i+1:]); ok {
				t.Errorf("taken with %q at %d", c, i)
			}
		}
	}
	for _, name := range []string{"", NodeName, sni[1:], "a" + sni, sni + ".", strings.ToUpper(sni), sni[:20] + "\n" + sni[20:], "\xff" + sni[1:]} {
		if _, ok := ParseSNI(token, name); ok {
			t.Errorf("%q was taken", name)
		}
	}
}

// TestRouteVectors holds the formulas fast: devices and nodes of different versions must agree.
func TestRouteVectors(t *testing.T) {
	token, device := Secret{1, 2, 3}, Secret{4, 5, 6}
	route := NewRoute(token, device)
	if got, want := fmt.Sprintf("%x %s", route[:], SNI(token, route)), "350ff307eedd71807015b54ffa528786 guh7gb7o3vyya4avwvh7uuuhq3syxtfw2rettaehha.clonecloud"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
