package measure_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clonecloud/clonecloud/bench/measure"
)

func TestQuantile(t *testing.T) {
	v := []float64{5, 1, 4, 2}
	for _, tt := range []struct {
		name    string
		q, want float64
	}{{"least", 0, 1}, {"median", 0.5, 3}, {"between", 0.9, 4.7}, {"greatest", 1, 5}, {"beyond", 2, 5}, {"below", -1, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			if got := measure.Quantile(v, tt.q); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if diff := cmp.Diff([]float64{5, 1, 4, 2}, v); diff != "" {
		t.Errorf("the values were sorted: %s", diff)
	}
	if !math.IsNaN(measure.Median(nil)) {
		t.Error("there is a median of nothing")
	}
}

func TestRatios(t *testing.T) {
	if diff := cmp.Diff([]float64{2, 0.5}, measure.Ratios([]float64{1, 4, 9}, []float64{2, 2})); diff != "" {
		t.Error(diff)
	}
}

func TestMean(t *testing.T) {
	if got := measure.Mean([]float64{0.5, 8, 2}); math.Abs(got-2) > 1e-12 {
		t.Errorf("got %v", got)
	}
	if !math.IsNaN(measure.Mean(nil)) {
		t.Error("there is a mean of nothing")
	}
}

// Only what this thread does counts, where the system tells a thread's time.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := measure.ThreadTime()
	for n := uint64(0); measure.ThreadTime() == begin; n++ {
		if n > 1<<40 {
			t.Fatal("the clock stands")
		}
	}
	if now := measure.ThreadTime(); now < begin {
		t.Errorf("the clock ran backwards, from %v to %v", begin, now)
	}
}

// Of many samples of medians that are known, the bounds hold nearly nine in ten.
func TestBootstrapHoldsTheMedian(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const samples = 100
	held := 0
	for range samples {
		v := make([]float64, 25)
		for i := range v {
			v[i] = 7 + rng.NormFloat64()
		}
		b := measure.Bootstrap(v)
		if b.Low > b.Mid || b.Mid > b.High {
			t.Fatalf("bounds out of order: %+v", b)
		}
		if b.Low <= 7 && 7 <= b.High {
			held++
		}
	}
	if held < 80 {
		t.Errorf("the bounds hold the median in %d of %d samples", held, samples)
	}
	if b := measure.Bootstrap([]float64{3}); b != (measure.Bound{Mid: 3, Low: 3, High: 3}) {
		t.Errorf("of one value: %+v", b)
	}
	if b := measure.Bootstrap(nil); !math.IsNaN(b.Mid) {
		t.Errorf("of nothing: %+v", b)
	}
}

func TestTable(t *testing.T) {
	var progress, out bytes.Buffer
	tab := measure.NewTable("speed", "how fast", "what", "ms", "n")
	tab.Progress = &progress
	tab.Add("a thing", 1.23456, 7)
	tab.Add("another", 123.456, 8)
	tab.Note("%d rounds.", 3)
	if err := tab.Print(&out); err != nil {
		t.Fatal(err)
	}
	want := `
speed: how fast

| what    | ms    | n  |
|---      |---    |--- |
| a thing | 1.235 | 7  |
| another | 123   | 8  |

3 rounds.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got, want := progress.String(), "speed: [a thing 1.23456 7]\nspeed: [another 123.456 8]\n"; got != want {
		t.Errorf("progress: got %q, want %q", got, want)
	}
}

func TestText(t *testing.T) {
	for v, want := range map[any]string{0.0: "0", 9.9999: "10.0", 99.99: "100", 12.34: "12.3", -123.4: "-123", 0.01234: "0.012", 5: "5", "x": "x", true: "true"} {
		if got := measure.Text(v); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	tab := measure.NewTable("speed", "how fast", "ms")
	tab.Add(1.5)
	if err := measure.WriteJSON(&out, []*measure.Table{tab}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version int             `json:"version"`
		Go      string          `json:"go"`
		Tables  []measure.Table `json:"tables"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != 1 || got.Go == "" || len(got.Tables) != 1 || got.Tables[0].Rows[0]["ms"] != 1.5 {
		t.Errorf("got %+v", got)
	}
}
