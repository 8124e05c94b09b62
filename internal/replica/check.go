package replica

// CheckState says how far a check is.
type CheckState uint8

// The states of a check.
const (
	CheckRuns CheckState = iota
	CheckDone
	CheckFailed
)

// Checked is what a check of the files that a node keeps came to, or has come to so far.
type Checked struct {
	State   CheckState
	Objects uint64 // that are there
	Bytes   uint64 // of them, as they are kept
	Read    uint64 // of them, whose contents were verified
	Roots   uint64 // of directories that are held on to
	Reached uint64 // objects from these
	// Damaged is what was not as it was stored, Removed how much of it was taken away, so that it is fetched again.
	Damaged, Removed uint64
	Malformed        uint64 // objects that hold what the device gave, which is not what refers to them takes it for
	Foreign          uint64 // what lies there and is not of this store; it stays
	Missing          uint64 // objects that roots reach and that are not there: they are fetched when they are needed
	Text             string // why it failed
}

// counts are its numbers in their order.
func (c *Checked) counts() [10]*uint64 {
	return [...]*uint64{
		&c.Objects, &c.Bytes, &c.Read, &c.Roots, &c.Reached, &c.Damaged, &c.Removed, &c.Malformed, &c.Foreign, &c.Missing,
	}
}

// AppendTo appends the encoded message.
func (c *Checked) AppendTo(b []byte) []byte {
	b = append(b, byte(c.State))
	for _, n := range c.counts() {
		b = appendUints(b, *n)
	}
	if c.State == CheckFailed {
		b = appendBytes(b, c.Text[:min(len(c.Text), maxText)])
	}
	return b
}

// DecodeChecked reads the Check message of a node.
func DecodeChecked(b []byte) (*Checked, error) {
	r := reader{b: b}
	c := &Checked{State: CheckState(r.uint("state of a check", uint64(CheckFailed)))}
	for _, n := range c.counts() {
		*n = r.uint("count of a check", 1<<62)
	}
	if c.State == CheckFailed {
		c.Text = string(r.bytes("text", maxText))
	}
	return c, r.end()
}

// AppendCheck appends the Check message of a device.
func AppendCheck(b []byte, readData bool) []byte {
	if readData {
		return append(b, 1)
	}
	return append(b, 0)
}

// DecodeCheck reads the Check message of a device.
func DecodeCheck(b []byte) (readData bool, err error) {
	r := reader{b: b}
	flags := r.uint("flags of a check", 1)
	return flags == 1, r.end()
}
