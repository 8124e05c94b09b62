package link

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Profile says how a kind of network behaves.
type Profile struct {
	Name     string
	RTT      time.Duration // there and back, without what the bytes take at the rate
	Jitter   time.Duration // a round trip takes up to that much more or less
	Up, Down float64       // bytes in a second, to the node and back; 0: no limit
}

// profiles are from fast to slow. WiFi and 3G are the two networks of the CloneCloud paper; the others are orders of
// magnitude: plain values from the middle of what such networks give, not measurements of one.
var profiles = []Profile{
	{Name: "loopback"},
	{Name: "lan", RTT: 500 * time.Microsecond, Up: 110e6, Down: 110e6},
	{Name: "5g", RTT: 20 * time.Millisecond, Jitter: 4 * time.Millisecond, Up: 12.5e6, Down: 25e6},
	{Name: "lte", RTT: 50 * time.Millisecond, Jitter: 10 * time.Millisecond, Up: 1.25e6, Down: 3.75e6},
	{Name: "wifi", RTT: 69 * time.Millisecond, Up: 825e3, Down: 825e3},
	{Name: "3g", RTT: 680 * time.Millisecond, Up: 50e3, Down: 50e3},
}

// Profiles returns the names that LookupProfile knows, from fast to slow.
func Profiles() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}

// LookupProfile returns the profile of a kind of network. The error names those that there are.
func LookupProfile(name string) (Profile, error) {
	i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, fmt.Errorf("look up link profile %q: known are %s", name, strings.Join(Profiles(), ", "))
	}
	return profiles[i], nil
}

// Plan returns the plan without faults that comes closest: it has no jitter, and the lower rate both ways.
func (p Profile) Plan() Plan {
	rate := p.Up
	if rate == 0 || p.Down > 0 && p.Down < rate {
		rate = p.Down
	}
	return Plan{Latency: p.RTT / 2, Rate: int(rate)}
}
