package ambient

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// The files of Linux are read below a root, and understood on every system, so that tests run everywhere.

// read returns the text of a file without blanks around it, "" if it cannot be read.
func read(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// load is the load average of a minute.
func load(root fs.FS) float64 {
	first, _, _ := strings.Cut(read(root, "proc/loadavg"), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil || !(v >= 0 && v < 1e6) {
		return 0
	}
	return v
}

// onBattery tells whether a battery of the machine, and not that of a mouse, is all that it has.
func onBattery(root fs.FS) bool {
	const dir = "sys/class/power_supply"
	list, err := fs.ReadDir(root, dir)
	if err != nil {
		return false
	}
	discharging := false
	for _, d := range list {
		at := func(name string) string { return read(root, path.Join(dir, d.Name(), name)) }
		if at("scope") == "Device" {
			continue
		}
		if at("type") == "Battery" {
			discharging = discharging || at("status") == "Discharging"
		} else if at("online") == "1" {
			return false
		}
	}
	return discharging
}

// metered tells whether the way out is a modem for mobile networks.
func metered(root fs.FS) bool {
	name := defaultRoute(read(root, "proc/net/route"))
	if name == "" {
		name = defaultRoute6(read(root, "proc/net/ipv6_route"))
	}
	if name == "" || strings.ContainsAny(name, "/.") && !fs.ValidPath(name) {
		return false
	}
	if strings.HasPrefix(name, "wwan") || strings.HasPrefix(name, "rmnet") {
		return true
	}
	for line := range strings.Lines(read(root, path.Join("sys/class/net", name, "uevent"))) {
		if strings.TrimSpace(line) == "DEVTYPE=wwan" {
			return true
		}
	}
	return false
}

// routeUp is the flag of a route that is in use.
const routeUp = 1

// defaultRoute is the interface of the default route with the least metric, as /proc/net/route tells; "": none.
func defaultRoute(table string) string {
	best, least := "", uint64(0)
	for line := range strings.Lines(table) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		metric, err2 := strconv.ParseUint(f[6], 10, 64)
		if err != nil || err2 != nil || flags&routeUp == 0 {
			continue
		}
		if best == "" || metric < least {
			best, least = f[0], metric
		}
	}
	return best
}

// defaultRoute6 is the same of /proc/net/ipv6_route.
func defaultRoute6(table string) string {
	best, least := "", uint64(0)
	for line := range strings.Lines(table) {
		// destination prefix source prefix gateway metric refs uses flags interface
		f := strings.Fields(line)
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || f[9] == "lo" {
			continue
		}
		flags, err := strconv.ParseUint(f[8], 16, 32)
		metric, err2 := strconv.ParseUint(f[5], 16, 32)
		if err != nil || err2 != nil || flags&routeUp == 0 {
			continue
		}
		if best == "" || metric < least {
			best, least = f[9], metric
		}
	}
	return best
}

func lookBelow(root fs.FS) State {
	return State{Load: load(root), Battery: onBattery(root), Metered: metered(root)}
}
