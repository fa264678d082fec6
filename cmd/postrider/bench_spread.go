package main

import (
	"cmp"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// spread is how measured values are distributed, as far as a histogram knows it.
type spread struct {
	count   uint64
	sum     float64
	buckets []bucket // by their ends, those without a value left out
}

// bucket says that so many values are above low and not above high.
type bucket struct {
	low, high float64
	count     uint64
}

// spreadOf returns what histograms know together: each by its native buckets,
// or, if it has none, by the classic ones.
func spreadOf(histograms ...*dto.Histogram) spread {
	var s spread
	for _, h := range histograms {
		s.count += h.GetSampleCount()
		s.sum += h.GetSampleSum()
		if len(h.GetPositiveSpan()) > 0 || h.GetZeroCount() > 0 {
			s.buckets = append(s.buckets, native(h)...)
		} else {
			s.buckets = append(s.buckets, classic(h)...)
		}
	}
	slices.SortStableFunc(s.buckets, func(a, b bucket) int { return cmp.Compare(a.high, b.high) })
	return s
}

// native returns the buckets of a native histogram of values that are not
// negative. Bucket i ends at 2^(i/2^schema); spans say which there are, and each
// count is told by its difference from the one before
// (https://prometheus.io/docs/specs/native_histograms).
func native(h *dto.Histogram) []bucket {
	var out []bucket
	if n := h.GetZeroCount(); n > 0 {
		out = append(out, bucket{0, h.GetZeroThreshold(), n})
	}
	end := func(i int) float64 { return math.Exp2(math.Ldexp(float64(i), -int(h.GetSchema()))) }
	index, count, deltas := 0, int64(0), h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		index += int(span.GetOffset())
		for range span.GetLength() {
			if len(deltas) == 0 {
				return out
			}
			count, deltas = count+deltas[0], deltas[1:]
			if count > 0 {
				out = append(out, bucket{end(index - 1), end(index), uint64(count)})
			}
			index++
		}
	}
	return out
}

// classic returns the buckets of a histogram with fixed ones. What is beyond the
// last of them counts as if it were at its end.
func classic(h *dto.Histogram) []bucket {
	var out []bucket
	low, before := 0.0, uint64(0)
	for _, b := range h.GetBucket() {
		high, n := b.GetUpperBound(), b.GetCumulativeCount()-before
		if math.IsInf(high, 1) {
			high = low
		}
		if n > 0 {
			out = append(out, bucket{low, high, n})
		}
		low, before = high, b.GetCumulativeCount()
	}
	if n := h.GetSampleCount() - before; n > 0 {
		out = append(out, bucket{low, low, n})
	}
	return out
}

// quantile returns the value that a share q of all is not above: that of 1 is the
// end of the last bucket, so at most a bucket's width too large; NaN if there is
// none. Within a bucket values count as spread evenly.
func (s spread) quantile(q float64) float64 {
	var all uint64
	for _, b := range s.buckets {
		all += b.count
	}
	rank, passed := q*float64(all), 0.0
	for _, b := range s.buckets {
		n := float64(b.count)
		if passed+n >= rank {
			return b.low + (b.high-b.low)*(rank-passed)/n
		}
		passed += n
	}
	return math.NaN()
}
