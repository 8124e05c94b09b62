package measure

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Quantile of values, 0 the least and 1 the greatest; NaN if there are none.
func Quantile(values []float64, q float64) float64 { return quantile(slices.Clone(values), q) }

// Median of values; NaN if there are none.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// quantile sorts v.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	at := min(max(q, 0), 1) * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// Mean is the geometric mean of values; NaN if there are none.
func Mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}

// Ratios of b over a, pair by pair: what was measured in turn was disturbed alike.
func Ratios(a, b []float64) []float64 {
	r := make([]float64, min(len(a), len(b)))
	for i := range r {
		r[i] = b[i] / a[i]
	}
	return r
}

// Bound is an estimate with its lower and upper 95 % confidence bounds, each one-sided.
type Bound struct{ Mid, Low, High float64 }

const resamples = 4000

// Bootstrap gives the median of values and its bounds, by resampling. The same values give the same bounds.
func Bootstrap(values []float64) Bound {
	if len(values) == 0 {
		return Bound{math.NaN(), math.NaN(), math.NaN()}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	draws, buf := make([]float64, resamples), make([]float64, len(values))
	for i := range draws {
		for k := range buf {
			buf[k] = values[rng.IntN(len(values))]
		}
		draws[i] = quantile(buf, 0.5)
	}
	return Bound{Median(values), quantile(draws, 0.05), quantile(draws, 0.95)}
}
