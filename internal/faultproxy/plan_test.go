package faultproxy

import "testing"

func TestPlanText(t *testing.T) {
	const text = "cut@17:down close@3:up close@4 stall@3:up/200ms stall@4:down stall@9/1s corrupt@5:down/7 halfopen@2 " +
		"orphan@7:down freeze@1:up/10ms freeze@6 refuse@2 refuse@3/4"
	p, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.String(); got != text {
		t.Fatalf("got %q, want %q", got, text)
	}
	for _, bad := range []string{"cut", "cut@", "cut@0:up", "cut@1:left", "cut@1:both", "cut@1:up/3", "burn@1:up", "stall@1:up/x",
		"stall@1/-1s", "corrupt@1:up/-1", "refuse@1:up", "refuse@1/0", "cut@99999999999999999999:up", "@1", "wifi"} {
		if _, err := ParsePlan(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if got := (Fault{Kind: Stall, Dir: Down}).String(); got != "stall:down" {
		t.Errorf("a fault that was not planned prints as %q", got)
	}
}

func TestRandomPlan(t *testing.T) {
	kinds := map[Kind]int{}
	dirs := map[Direction]int{}
	small, chaos := 0, Chaos{Bytes: 1000, Faults: 2, Kinds: []Kind{Cut, Close, Stall, Corrupt, HalfOpen, Orphan, Freeze, Refuse}}
	for seed := range uint64(500) {
		p := RandomPlan(seed, chaos)
		if got := RandomPlan(seed, chaos).String(); got != p.String() {
			t.Fatalf("seed %d gives %q and %q", seed, p, got)
		}
		q, err := ParsePlan(p.String())
		if err != nil || q.String() != p.String() || len(p) != 2 {
			t.Fatalf("seed %d: plan %q is read as %q, %v", seed, p, q, err)
		}
		for _, f := range p {
			kinds[f.Kind]++
			dirs[f.Dir]++
			if f.At == 0 || f.At > 1000 {
				t.Fatalf("seed %d: fault %v", seed, f)
			}
			if f.At <= 32 {
				small++
			}
		}
	}
	if len(kinds) != int(numKinds) || len(dirs) != 3 || small < 300 {
		t.Fatalf("kinds drawn: %v, directions %v, among the first bytes %d of 1000", kinds, dirs, small)
	}
	if p := RandomPlan(1, Chaos{}); len(p) != 1 || p[0].At > 1<<20 {
		t.Fatalf("with the defaults: %v", p)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add("cut@17:down stall@3:up/200ms corrupt@5:down/7 refuse@2/3 freeze@1/1s")
	f.Add("halfopen@1:up, orphan@2:down,close@3")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlan(s)
		if err != nil {
			return
		}
		q, err := ParsePlan(p.String())
		if err != nil || q.String() != p.String() {
			t.Fatalf("%q is read as %q, %v", p, q, err)
		}
	})
}
