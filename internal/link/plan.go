package link

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Direction is a direction of a link.
type Direction uint8

// The directions: Up from the device to the node, Down back.
const (
	Up Direction = iota
	Down
)

func (d Direction) String() string {
	if d == Up {
		return "up"
	}
	return "down"
}

// Kind is a kind of fault.
type Kind uint8

// The kinds of faults. All but Refuse strike at a frame.
const (
	Cut     Kind = iota // the frame and all on the way are lost, and both ends see the link fail
	After               // as Cut, once the frame has been received
	Stall               // the frame and all after it are held for Fault.For, or for ever
	Dead                // the frame and all after it vanish, and nobody is told
	Lose                // the frame vanishes
	Corrupt             // the bit Fault.Bit of the frame is flipped, modulo its length
	Double              // the frame comes twice
	Swap                // the frame comes after the next one
	Refuse              // the dial with this number fails
	numKinds
)

var kindNames = [numKinds]string{"cut", "after", "stall", "dead", "lose", "corrupt", "double", "swap", "refuse"}

func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Fault is one thing that goes wrong, once.
type Fault struct {
	Kind Kind
	// At is the number of the frame, in its direction and from 1 upwards, over all links of a network; or of the
	// dial. The fault strikes at the first frame that has this number or a higher one.
	At  uint64
	Dir Direction
	For time.Duration // Stall; 0: for ever
	Bit uint32        // Corrupt
}

// String gives the form that ParsePlan reads: cut@17:down, stall@3:up/200ms, corrupt@9:down/1234, refuse@2.
func (f Fault) String() string {
	s := f.Kind.String() + "@" + strconv.FormatUint(f.At, 10)
	if f.Kind == Refuse {
		return s
	}
	s += ":" + f.Dir.String()
	switch {
	case f.Kind == Stall && f.For > 0:
		s += "/" + f.For.String()
	case f.Kind == Corrupt:
		s += "/" + strconv.FormatUint(uint64(f.Bit), 10)
	}
	return s
}

// Plan says how a network behaves. The zero value is a perfect one.
type Plan struct {
	Latency time.Duration // one way
	Rate    int           // bytes in a second, each way; 0: no limit
	Faults  []Fault
}

// String gives the form that ParsePlan reads: words with spaces between.
func (p Plan) String() string {
	var words []string
	if p.Latency > 0 {
		words = append(words, "latency="+p.Latency.String())
	}
	if p.Rate > 0 {
		words = append(words, "rate="+strconv.Itoa(p.Rate))
	}
	for _, f := range p.Faults {
		words = append(words, f.String())
	}
	return strings.Join(words, " ")
}

// ParsePlan reads what Plan.String gives; words are separated by spaces or commas. The name of a profile stands for
// the latency and rate of Profile.Plan.
func ParsePlan(s string) (Plan, error) {
	var p Plan
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }) {
		if err := p.word(w); err != nil {
			return Plan{}, fmt.Errorf("parse plan: %q: %w", w, err)
		}
	}
	return p, nil
}

func (p *Plan) word(w string) (err error) {
	if known, err := LookupProfile(w); err == nil {
		q := known.Plan()
		p.Latency, p.Rate = q.Latency, q.Rate
		return nil
	}
	if v, ok := strings.CutPrefix(w, "latency="); ok {
		p.Latency, err = duration(v)
		return err
	}
	if v, ok := strings.CutPrefix(w, "rate="); ok {
		if p.Rate, err = strconv.Atoi(v); err == nil && p.Rate <= 0 {
			err = fmt.Errorf("rate is not positive")
		}
		return err
	}
	f, err := parseFault(w)
	if err == nil {
		p.Faults = append(p.Faults, f)
	}
	return err
}

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("duration is not positive")
	}
	return d, err
}

func parseFault(w string) (f Fault, err error) {
	name, rest, ok := strings.Cut(w, "@")
	k := slices.Index(kindNames[:], name)
	if !ok || k < 0 {
		return f, fmt.Errorf("no such fault or setting")
	}
	f.Kind = Kind(k)
	rest, arg, hasArg := strings.Cut(rest, "/")
	at, dir, hasDir := strings.Cut(rest, ":")
	if f.At, err = strconv.ParseUint(at, 10, 64); err != nil || f.At == 0 {
		return f, fmt.Errorf("frames count from 1")
	}
	if hasDir != (f.Kind != Refuse) || hasDir && dir != "up" && dir != "down" {
		return f, fmt.Errorf("a frame has the direction up or down")
	}
	if dir == "down" {
		f.Dir = Down
	}
	switch {
	case !hasArg:
	case f.Kind == Stall:
		f.For, err = duration(arg)
	case f.Kind == Corrupt:
		var bit uint64
		bit, err = strconv.ParseUint(arg, 10, 32)
		f.Bit = uint32(bit)
	default:
		err = fmt.Errorf("%v takes nothing after /", f.Kind)
	}
	return f, err
}

// Chaos says what RandomPlan draws from. Zero fields have the defaults named.
type Chaos struct {
	Frames  uint64        // faults strike among the first Frames frames of a direction; default 100
	Faults  int           // how many; default 1
	Kinds   []Kind        // default: all but Refuse
	Longest time.Duration // of a stall; default 20 ms. One stall in four is for ever
}

// RandomPlan draws a plan of faults; the same seed gives the same one. Small frame numbers are as likely as large
// ones by order of magnitude, because offloads differ in length by as much.
func RandomPlan(seed uint64, c Chaos) Plan {
	if c.Frames == 0 {
		c.Frames = 100
	}
	if c.Faults == 0 {
		c.Faults = 1
	}
	if len(c.Kinds) == 0 {
		c.Kinds = []Kind{Cut, After, Stall, Dead, Lose, Corrupt, Double, Swap}
	}
	if c.Longest <= 0 {
		c.Longest = 20 * time.Millisecond
	}
	r := rand.New(rand.NewPCG(seed, 0x6c696e6b))
	var p Plan
	for range c.Faults {
		f := Fault{Kind: c.Kinds[r.IntN(len(c.Kinds))], Dir: Direction(r.IntN(2))}
		f.At = 1 + r.Uint64N(c.Frames)
		if r.IntN(2) == 0 {
			f.At = 1 + r.Uint64N(f.At)
		}
		switch f.Kind {
		case Stall:
			if r.IntN(4) > 0 {
				f.For = 1 + time.Duration(r.Int64N(int64(c.Longest)))
			}
		case Corrupt:
			f.Bit = r.Uint32()
		case Refuse:
			f.Dir = Up
		}
		p.Faults = append(p.Faults, f)
	}
	return p
}
