package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"

	"github.com/clonecloud/clonecloud/bench/measure"
)

// chart shows for each row where its points lie, on a logarithmic axis.
type chart struct {
	title, axis string
	series      []string
	rows        []chartRow
	// ruleAfter is how many rows stand above a line across; 0: there is none.
	ruleAfter int
}

// chartRow has a value for each series; one that is not above 0 is not drawn.
type chartRow struct {
	name   string
	values []float64
}

// Sizes in pixels.
const (
	chartWidth  = 860
	chartLeft   = 172 // names
	chartRight  = 30
	chartTop    = 78 // title and legend
	chartBottom = 46 // the axis
	rowHeight   = 18
	markSize    = 5
)

// chartStyle suits a light page and a dark one: the chart has its own ground, and follows what the reader prefers.
const chartStyle = `
.ground{fill:#fff}.text{fill:#222}.grid{stroke:#ddd}.one{stroke:#444}.band{fill:#f5f5f5}
.s0{fill:#777}.s1{fill:#0b62a8}.s2{fill:#c05600}.s3{fill:#8a2c8a}.s4{fill:#2d7d2d}
text{font:12px system-ui,sans-serif}.title{font-size:15px;font-weight:600}.end{text-anchor:end}.mid{text-anchor:middle}
@media (prefers-color-scheme:dark){
.ground{fill:#16191d}.text{fill:#e2e2e2}.grid{stroke:#3a3f45}.one{stroke:#aaa}.band{fill:#1e2228}
.s0{fill:#a8a8a8}.s1{fill:#62b0f0}.s2{fill:#ff9d4d}.s3{fill:#d88ad8}.s4{fill:#7cc87c}}
`

// span is the range of the axis: powers of two around all values and 1.
func (c *chart) span() (lo, hi float64) {
	for _, r := range c.rows {
		for _, v := range r.values {
			if v > 0 && !math.IsInf(v, 0) {
				lo, hi = min(lo, math.Floor(math.Log2(v))), max(hi, math.Ceil(math.Log2(v)))
			}
		}
	}
	return lo, max(hi, lo+1)
}

// place is where a value lies on the axis.
func place(v, lo, hi float64) float64 {
	return chartLeft + (math.Log2(v)-lo)/(hi-lo)*(chartWidth-chartLeft-chartRight)
}

// draw makes an SVG.
func (c *chart) draw() []byte {
	var b bytes.Buffer
	height := chartTop + len(c.rows)*rowHeight + chartBottom
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`, chartWidth, height, chartWidth, height)
	p(`<title>%s</title><style>%s</style>`, escape(c.title), chartStyle)
	p(`<rect class="ground" width="%d" height="%d"/>`, chartWidth, height)
	p(`<text class="text title" x="14" y="26">%s</text>`, escape(c.title))
	at := 20
	for i, s := range c.series {
		p(`%s<text class="text" x="%d" y="52">%s</text>`, shape(i, float64(at), 48), at+12, escape(s))
		at += 34 + 7*len(s)
	}
	lo, hi := c.span()
	c.axisTo(p, height-chartBottom, lo, hi)
	for i, r := range c.rows {
		y := chartTop + i*rowHeight + rowHeight/2
		if i%2 == 1 {
			p(`<rect class="band" x="0" y="%d" width="%d" height="%d" fill-opacity=".5"/>`, y-rowHeight/2, chartWidth, rowHeight)
		}
		p(`<text class="text end" x="%d" y="%d">%s</text>`, chartLeft-12, y+4, escape(r.name))
		for k, v := range r.values {
			if v > 0 && !math.IsInf(v, 0) {
				p(`<g>%s<title>%s, %s: %s</title></g>`, shape(k, place(v, lo, hi), float64(y)), escape(r.name), escape(c.series[k]), measure.Text(v))
			}
		}
	}
	if c.ruleAfter > 0 {
		y := chartTop + c.ruleAfter*rowHeight
		p(`<line class="one" x1="14" x2="%d" y1="%d" y2="%d"/>`, chartWidth-chartRight, y, y)
	}
	p(`</svg>`)
	return b.Bytes()
}

// axisTo draws the lines of the axis, and its numbers below.
func (c *chart) axisTo(p func(string, ...any), bottom int, lo, hi float64) {
	for e := lo; e <= hi; e++ {
		v := math.Exp2(e)
		class := "grid"
		if v == 1 {
			class = "one"
		}
		x := place(v, lo, hi)
		p(`<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, class, x, x, chartTop-4, bottom)
		p(`<text class="text mid" x="%.1f" y="%d">%g</text>`, x, bottom+16, v)
	}
	p(`<text class="text mid" x="%d" y="%d">%s</text>`, (chartLeft+chartWidth-chartRight)/2, bottom+36, escape(c.axis))
}

// shape is the mark of a series: told apart without colours too.
func shape(series int, x, y float64) string {
	const r = markSize
	class := fmt.Sprintf("s%d", series%5)
	switch series % 5 {
	case 1:
		return fmt.Sprintf(`<circle class="%s" cx="%.1f" cy="%.1f" r="%d"/>`, class, x, y, r)
	case 2:
		return fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="%d" height="%d"/>`, class, x-r+1, y-r+1, 2*r-2, 2*r-2)
	case 3:
		return fmt.Sprintf(`<path class="%s" d="M%.1f %.1fl%d %dh%dz"/>`, class, x, y-r, r, 2*r-1, -2*r)
	case 4:
		return fmt.Sprintf(`<path class="%s" d="M%.1f %.1fl%d %dl%d %dl%d %dz"/>`, class, x, y-r, r, r, -r, r, -r, -r)
	}
	return fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="3" height="%d"/>`, class, x-1.5, y-r-1, 2*r+2)
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes all
	return b.String()
}

// drawSpeed shows what clones take on each engine.
func drawSpeed(all []figures, kinds []string) []byte {
	sides := []who{{clang, plain}}
	c := chart{title: "Time of a clone over native code", axis: "times gcc -O2 (Rust: rustc -O, Go: go build); less is faster", series: []string{"clang -O2"}}
	for _, k := range kinds {
		sides = append(sides, who{k, cloned})
		c.series = append(c.series, map[string]string{"compiler": "wazero, compiler", "interpreter": "wazero, interpreter"}[k])
		if c.series[len(c.series)-1] == "" {
			c.series[len(c.series)-1] = k
		}
	}
	for i := range all {
		r := chartRow{name: all[i].prog.Name}
		for _, s := range sides {
			v := 0.0
			if o := all[i].over[s]; len(o) > 0 {
				v = measure.Median(o)
			}
			r.values = append(r.values, v)
		}
		c.rows = append(c.rows, r)
	}
	c.ruleAfter = len(c.rows)
	for _, g := range groups {
		if g.size(all) == 0 {
			continue
		}
		r := chartRow{name: "mean: " + g.name}
		for _, s := range sides {
			r.values = append(r.values, g.mean(all, s))
		}
		c.rows = append(c.rows, r)
	}
	return c.draw()
}
