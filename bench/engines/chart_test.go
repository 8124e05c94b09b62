package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/clonecloud/clonecloud/bench/programs"
	"github.com/clonecloud/clonecloud/internal/engine/engines"
)

// element is one of an SVG, with what a test looks at.
type element struct {
	name string
	attr map[string]string
}

// parse reads an SVG: its elements and its words.
func parse(t *testing.T, svg []byte) (all []element, words []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, words
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := element{tok.Name.Local, map[string]string{}}
			for _, a := range tok.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			all = append(all, e)
		case xml.CharData:
			if s := strings.TrimSpace(string(tok)); s != "" {
				words = append(words, s)
			}
		}
	}
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestChart draws values where the axis says they are.
func TestChart(t *testing.T) {
	c := chart{title: "a < b & c", axis: "times", series: []string{"zero", "one"}, rows: []chartRow{
		{"first", []float64{math.NaN(), 1}}, {"sec<ond", []float64{0, 4}}, {"third", []float64{math.Inf(1), 0.3}},
	}, ruleAfter: 2}
	all, words := parse(t, c.draw())
	text := strings.Join(words, "\n")
	for _, want := range []string{"a < b & c", "times", "zero", "one", "first", "sec<ond", "third", "0.25", "0.5", "1", "2", "4", "sec<ond, one: 4.000"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, words)
		}
	}
	var circles []element
	grid := map[string]float64{}
	for _, e := range all {
		switch {
		case e.name == "circle":
			circles = append(circles, e)
		case e.name == "line" && e.attr["class"] == "one" && e.attr["x1"] == e.attr["x2"]:
			grid["1"] = number(t, e.attr["x1"])
		}
	}
	if len(circles) != 4 { // the legend's, and one for each row
		t.Fatalf("%d circles", len(circles))
	}
	x := func(i int) float64 { return number(t, circles[i].attr["cx"]) }
	if x(1) != grid["1"] {
		t.Errorf("1 is drawn at %v, its line at %v", x(1), grid["1"])
	}
	if got, want := x(2), float64(chartWidth-chartRight); got != want {
		t.Errorf("4, the greatest, is at %v, want %v", got, want)
	}
	if x(3) >= x(1) || x(3) <= chartLeft {
		t.Errorf("0.3 is at %v, 1 at %v", x(3), x(1))
	}
	for i := 2; i < 4; i++ {
		if dy := number(t, circles[i].attr["cy"]) - number(t, circles[i-1].attr["cy"]); dy != rowHeight {
			t.Errorf("row %d is %v below the one before", i, dy)
		}
	}
}

// TestChartOfSpeed shows each program and each group, and suits both kinds of pages.
func TestChartOfSpeed(t *testing.T) {
	svg := drawSpeed(some(), []string{engines.Wasmtime, engines.Compiler, engines.Interpreter})
	_, words := parse(t, svg)
	text := strings.Join(words, "\n")
	for _, want := range []string{"a", "d", "mean: C", "mean: Go", "wasmtime", "wazero, compiler", "wazero, interpreter", "mean: C, wasmtime: 1.200"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(text, "NaN") || !strings.Contains(text, "prefers-color-scheme:dark") {
		t.Errorf("got %s", svg)
	}
	// Groups without programs are left out.
	if svg := drawSpeed(some()[:1], []string{engines.Wasmtime}); strings.Contains(string(svg), "mean: "+string(programs.Go)) {
		t.Error("there is a mean of no programs")
	}
}
