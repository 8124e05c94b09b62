package faultproxy

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Direction says which bytes are meant.
type Direction uint8

// The directions: Up from the device, which dials, to the node, Down back.
const (
	Both Direction = iota
	Up
	Down
)

var directionNames = [...]string{"both", "up", "down"}

func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// has tells whether a flow's direction, 0 up and 1 down, is meant.
func (d Direction) has(flow int) bool { return d == Both || int(d)-1 == flow }

// Kind is a kind of fault.
type Kind uint8

// The kinds of faults. All but Freeze and Refuse strike one connection. Except where one says otherwise, what is on
// the way in a struck direction is lost.
const (
	Cut      Kind = iota // both ends are reset
	Close                // an end of the stream in Fault.Dir, though its sender has not ended it
	Stall                // what goes in Fault.Dir is held for Fault.For, or until the next Stall; nothing is lost
	Corrupt              // the bit Fault.Bit modulo 8 of the byte is flipped; nothing is lost
	HalfOpen             // what goes in Fault.Dir vanishes from then on, ends of the stream too: nobody is told
	Orphan               // the receiver of Fault.Dir (Both: the node) is reset; the sender hears nothing ever after
	Freeze               // nothing passes, on any connection, there or yet to come, for Fault.For, or until the next Freeze; nothing is lost
	Refuse               // the next Fault.N connections are reset as soon as they are made
	numKinds
)

var kindNames = [numKinds]string{"cut", "close", "stall", "corrupt", "halfopen", "orphan", "freeze", "refuse"}

func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Fault is one thing that goes wrong, once.
type Fault struct {
	Kind Kind
	// At is the number of a byte, from 1 upwards, counted over all connections of the proxy where the bytes of
	// Dir (Both: of the two together) leave it; for Refuse the number of a connection. A planned fault strikes
	// before this byte leaves, on the connection that carries it. Not used by Strike.
	At  uint64
	Dir Direction     // what is counted and what is struck
	For time.Duration // Stall, Freeze; 0: until the next one
	Bit uint32        // Corrupt
	N   uint32        // Refuse; 0: 1
}

// String gives the form that ParsePlan reads: cut@1700:down, stall@30/200ms (both directions together),
// corrupt@9:up/5, refuse@2/3.
func (f Fault) String() string {
	s := f.Kind.String()
	if f.At > 0 {
		s += "@" + strconv.FormatUint(f.At, 10)
	}
	if f.Kind != Refuse && f.Dir != Both {
		s += ":" + f.Dir.String()
	}
	switch {
	case (f.Kind == Stall || f.Kind == Freeze) && f.For > 0:
		s += "/" + f.For.String()
	case f.Kind == Corrupt:
		s += "/" + strconv.FormatUint(uint64(f.Bit), 10)
	case f.Kind == Refuse && f.N > 1:
		s += "/" + strconv.FormatUint(uint64(f.N), 10)
	}
	return s
}

// Plan is faults to come.
type Plan []Fault

// String gives the form that ParsePlan reads: faults with spaces between.
func (p Plan) String() string {
	var words []string
	for _, f := range p {
		words = append(words, f.String())
	}
	return strings.Join(words, " ")
}

// ParsePlan reads what Plan.String gives; faults are separated by spaces or commas.
func ParsePlan(s string) (Plan, error) {
	var p Plan
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }) {
		f, err := parseFault(w)
		if err != nil {
			return nil, fmt.Errorf("parse plan: %q: %w", w, err)
		}
		p = append(p, f)
	}
	return p, nil
}

func parseFault(w string) (f Fault, err error) {
	name, rest, ok := strings.Cut(w, "@")
	k := slices.Index(kindNames[:], name)
	if !ok || k < 0 {
		return f, fmt.Errorf("no such fault")
	}
	f.Kind = Kind(k)
	rest, arg, hasArg := strings.Cut(rest, "/")
	at, dir, hasDir := strings.Cut(rest, ":")
	if f.At, err = strconv.ParseUint(at, 10, 64); err != nil || f.At == 0 {
		return f, fmt.Errorf("bytes and connections count from 1")
	}
	switch {
	case !hasDir:
	case f.Kind != Refuse && dir == "up":
		f.Dir = Up
	case f.Kind != Refuse && dir == "down":
		f.Dir = Down
	default:
		return f, fmt.Errorf("bytes have the direction up or down")
	}
	switch {
	case !hasArg:
	case f.Kind == Stall || f.Kind == Freeze:
		if f.For, err = time.ParseDuration(arg); err == nil && f.For <= 0 {
			err = fmt.Errorf("duration is not positive")
		}
	case f.Kind == Corrupt:
		f.Bit, err = parseUint32(arg)
	case f.Kind == Refuse:
		if f.N, err = parseUint32(arg); err == nil && f.N == 0 {
			err = fmt.Errorf("refuses none")
		}
	default:
		err = fmt.Errorf("%v takes nothing after /", f.Kind)
	}
	return f, err
}

func parseUint32(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// Chaos says what RandomPlan draws from. Zero fields have the defaults named.
type Chaos struct {
	Bytes   uint64        // faults strike among the first Bytes bytes of a direction; default 1 MiB
	Faults  int           // how many; default 1
	Kinds   []Kind        // default: those that strike one connection
	Longest time.Duration // of a stall or freeze; default 20 ms. One stall in four is for ever
	Dials   uint64        // Refuse strikes among the first Dials connections; default 4
}

// RandomPlan draws a plan; the same seed gives the same one. Places are drawn by order of magnitude, so that
// handshakes are struck as well as bulk.
func RandomPlan(seed uint64, c Chaos) Plan {
	if c.Bytes == 0 {
		c.Bytes = 1 << 20
	}
	if c.Faults == 0 {
		c.Faults = 1
	}
	if len(c.Kinds) == 0 {
		c.Kinds = []Kind{Cut, Close, Stall, Corrupt, HalfOpen, Orphan}
	}
	if c.Longest <= 0 {
		c.Longest = 20 * time.Millisecond
	}
	if c.Dials == 0 {
		c.Dials = 4
	}
	r := rand.New(rand.NewPCG(seed, 0x70726f7879))
	var p Plan
	for range c.Faults {
		f := Fault{Kind: c.Kinds[r.IntN(len(c.Kinds))], Dir: Direction(r.IntN(3))}
		magnitude := r.IntN(bits.Len64(c.Bytes))
		f.At = 1 + r.Uint64N(min(c.Bytes, 2<<magnitude))
		switch f.Kind {
		case Stall, Freeze:
			if f.Kind == Freeze || r.IntN(4) > 0 {
				f.For = 1 + time.Duration(r.Int64N(int64(c.Longest)))
			}
		case Corrupt:
			f.Bit = r.Uint32N(8)
		case Refuse:
			f.Dir, f.At, f.N = Both, 1+r.Uint64N(c.Dials), 1+r.Uint32N(3)
		}
		p = append(p, f)
	}
	return p
}
