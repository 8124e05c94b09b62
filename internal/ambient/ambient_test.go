package ambient

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

func TestAgainst(t *testing.T) {
	all := Allow{true, true, true}
	for _, c := range []struct {
		name  string
		state State
		allow Allow
		want  string
	}{
		{"idle", State{Load: 0.4, CPUs: 1}, Allow{}, ""},
		{"edge", State{Load: 4, CPUs: 8}, Allow{}, ""},
		{"busy", State{Load: 4.1, CPUs: 8}, Allow{}, "the device is busy"},
		{"busy_allowed", State{Load: 80, CPUs: 8}, Allow{Busy: true}, ""},
		{"no_cpus", State{Load: 0.6}, Allow{}, "the device is busy"},
		{"battery", State{Battery: true, CPUs: 1}, Allow{Busy: true, Metered: true}, "the device runs on its battery"},
		{"battery_allowed", State{Battery: true, CPUs: 1}, Allow{Battery: true}, ""},
		{"metered", State{Metered: true, CPUs: 1}, Allow{Busy: true, Battery: true}, "the network is metered"},
		{"metered_allowed", State{Metered: true, CPUs: 1}, Allow{Metered: true}, ""},
		{"all", State{Load: 9, CPUs: 1, Battery: true, Metered: true}, all, ""},
		{"nothing_known", State{}, Allow{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.state.Against(c.allow); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// below makes a root of Linux from files and their texts.
func below(files ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return m
}

func TestLoad(t *testing.T) {
	for text, want := range map[string]float64{"0.52 0.58 0.59 1/467 12345\n": 0.52, "": 0, "x": 0, "-1 2": 0, "NaN 1": 0, "1e300 1": 0} {
		if got := load(below("proc/loadavg", text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	if got := load(below()); got != 0 {
		t.Errorf("no file: got %v", got)
	}
}

func TestBattery(t *testing.T) {
	const dir = "sys/class/power_supply/"
	for name, c := range map[string]struct {
		files []string
		want  bool
	}{
		"none":        {nil, false},
		"empty":       {[]string{"sys/class/power_supply/AC/type", "Mains"}, false},
		"discharging": {[]string{dir + "BAT0/type", "Battery\n", dir + "BAT0/status", "Discharging\n", dir + "AC/type", "Mains", dir + "AC/online", "0\n"}, true},
		"charging":    {[]string{dir + "BAT0/type", "Battery", dir + "BAT0/status", "Charging", dir + "AC/type", "Mains", dir + "AC/online", "1"}, false},
		"full":        {[]string{dir + "BAT0/type", "Battery", dir + "BAT0/status", "Full"}, false},
		"weak_charger": {[]string{dir + "BAT0/type", "Battery", dir + "BAT0/status", "Discharging", dir + "usb/type", "USB", dir + "usb/online",
			"1"}, false},
		"second":     {[]string{dir + "BAT0/type", "Battery", dir + "BAT0/status", "Full", dir + "BAT1/type", "Battery", dir + "BAT1/status", "Discharging"}, true},
		"mouse":      {[]string{dir + "hid/type", "Battery", dir + "hid/status", "Discharging", dir + "hid/scope", "Device"}, false},
		"unreadable": {[]string{dir + "BAT0/other", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := onBattery(below(c.files...)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

const (
	head   = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	wired  = "eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
	local  = "eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
	mobile = "usb7\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0\n"
	down   = "eth0\t00000000\t0102A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0\n"
	six    = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 usb7\n"
	lo     = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)

func TestMetered(t *testing.T) {
	modem := []string{"sys/class/net/usb7/uevent", "DEVTYPE=wwan\nINTERFACE=usb7\nIFINDEX=7\n", "sys/class/net/eth0/uevent", "INTERFACE=eth0\n"}
	for name, c := range map[string]struct {
		route, route6 string
		want          bool
	}{
		"none":         {"", "", false},
		"wired":        {head + wired + local, "", false},
		"mobile":       {head + mobile, "", true},
		"wired_first":  {head + mobile + wired, six, false},
		"wired_down":   {head + down + mobile, "", true},
		"six":          {head + local, lo + six, true},
		"six_lo":       {head, lo, false},
		"named":        {head + "wwan0\t00000000\t0\t3\t0\t0\t1\t00000000\n", "", true},
		"short":        {head + "usb7\t00000000\n", "usb7\n", false},
		"wrong":        {head + "usb7\t00000000\t0\tx\t0\t0\ty\t00000000\n", "", false},
		"out_of_place": {head + "../../x\t00000000\t0\t3\t0\t0\t1\t00000000\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := below(append(modem, "proc/net/route", c.route, "proc/net/ipv6_route", c.route6)...)
			if got := metered(root); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestOwn(t *testing.T) {
	var o own
	now := time.Unix(1e9, 0)
	cpu := time.Duration(0)
	if got := o.add(now, cpu); got != 0 {
		t.Errorf("at first: %v", got)
	}
	for range 60 { // two processors for five minutes
		now, cpu = now.Add(5*time.Second), cpu+10*time.Second
		o.add(now, cpu)
	}
	if got := o.add(now, cpu); math.Abs(got-2) > 0.05 {
		t.Errorf("after work: %v", got)
	}
	if got := o.add(now.Add(time.Minute), cpu); math.Abs(got-2/math.E) > 0.05 {
		t.Errorf("after a minute's rest: %v", got)
	}
	if got := o.add(now, cpu); got > 2 || got < 0 {
		t.Errorf("after the clock was set back: %v", got)
	}
}

func TestNow(t *testing.T) {
	var w Watch
	if s := w.Now(time.Now()); s.CPUs < 1 || s.Load < 0 {
		t.Errorf("got %+v", s)
	}
}

func TestBudget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "budget.json")
	const limit = 100 << 20
	monday := time.Date(2026, 3, 2, 23, 0, 0, 0, time.Local)
	b := OpenBudget(path)
	left := func(now time.Time, want uint64) {
		t.Helper()
		if got := b.Left(now, limit); got != want {
			t.Errorf("got %d left, want %d", got, want)
		}
	}
	spend := func(now time.Time, n uint64) {
		t.Helper()
		if err := b.Spend(now, n); err != nil {
			t.Fatal(err)
		}
	}
	left(monday, limit)
	spend(monday, 10<<20)
	b = OpenBudget(path) // as after a crash
	left(monday, 90<<20)
	spend(monday, 1000)
	left(monday, 90<<20-1000)
	if err := b.Keep(); err != nil {
		t.Fatal(err)
	}
	b = OpenBudget(path)
	left(monday, 90<<20-1000)
	spend(monday, limit)
	left(monday, 0)
	left(monday.Add(2*time.Hour), limit)
	spend(monday.Add(2*time.Hour), 5)
	b = OpenBudget(path)
	left(monday.Add(2*time.Hour), limit-5)
	left(monday, limit) // the clock was wrong
	for _, text := range []string{"", "{", `{"version":9,"day":"2026-03-03","bytes":7}`, `[]`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b = OpenBudget(path)
		left(monday, limit)
	}
	b = OpenBudget(filepath.Join(path, "below", "a", "file"))
	if err := b.Spend(monday, 9<<20); err == nil {
		t.Error("a budget that cannot be kept gives no error")
	}
}
