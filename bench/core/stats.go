package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/clonecloud/clonecloud/bench/measure"
)

// quantile of values, which it sorts.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// spread is the 10th and the 90th percentile.
func spread(v []float64) (lo, hi float64) {
	v = slices.Clone(v)
	return quantile(v, 0.1), quantile(v, 0.9)
}

const resamples = 4000

// bound is an estimate with its lower and upper 95 % confidence bounds, each one-sided.
type bound struct{ mid, lo, hi float64 }

// bootstrap gives the geometric mean over groups of the median within each, and its bounds by resampling within
// the groups.
func bootstrap(groups ...[]float64) bound {
	rng := rand.New(rand.NewPCG(1, 2))
	mean := func(pick func(g []float64) float64) float64 {
		sum := 0.0
		for _, g := range groups {
			sum += math.Log(pick(g))
		}
		return math.Exp(sum / float64(len(groups)))
	}
	draws := make([]float64, resamples)
	var buf []float64
	for i := range draws {
		draws[i] = mean(func(g []float64) float64 {
			buf = buf[:0]
			for range g {
				buf = append(buf, g[rng.IntN(len(g))])
			}
			return quantile(buf, 0.5)
		})
	}
	return bound{mean(measure.Median), quantile(draws, 0.05), quantile(draws, 0.95)}
}

// bootstrapDifference gives the median of differences, and its bounds.
func bootstrapDifference(v []float64) bound {
	rng := rand.New(rand.NewPCG(1, 2))
	draws, buf := make([]float64, resamples), make([]float64, len(v))
	for i := range draws {
		for k := range buf {
			buf[k] = v[rng.IntN(len(v))]
		}
		draws[i] = quantile(buf, 0.5)
	}
	return bound{measure.Median(v), quantile(draws, 0.05), quantile(draws, 0.95)}
}
