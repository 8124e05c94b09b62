package link

import (
	"strings"
	"testing"
	"time"
)

func TestProfiles(t *testing.T) {
	for _, name := range Profiles() {
		p, err := LookupProfile(name)
		if err != nil || p.Name != name {
			t.Errorf("%s is %+v, %v", name, p, err)
		}
		if p.Jitter > p.RTT/2 {
			t.Errorf("%s: jitter %v of %v: a direction could take less than no time", name, p.Jitter, p.RTT)
		}
		plan, err := ParsePlan(name)
		if err != nil || plan.String() != p.Plan().String() {
			t.Errorf("%s is parsed as %q, %v, want %q", name, plan, err, p.Plan())
		}
	}
	if _, err := LookupProfile("dialup"); err == nil || !strings.Contains(err.Error(), "wifi, 3g") {
		t.Errorf("a network that is not known: %v", err)
	}
	for _, tc := range []struct {
		p    Profile
		want Plan
	}{
		{Profile{}, Plan{}},
		{Profile{RTT: 3 * time.Millisecond, Up: 5}, Plan{Latency: 1500 * time.Microsecond, Rate: 5}},
		{Profile{Down: 6}, Plan{Rate: 6}},
		{Profile{Up: 8, Down: 7}, Plan{Rate: 7}},
	} {
		if got := tc.p.Plan(); got.String() != tc.want.String() {
			t.Errorf("%+v gives %q, want %q", tc.p, got, tc.want)
		}
	}
}
