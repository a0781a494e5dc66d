package bench

import (
	"math/bits"
	"slices"
	"time"
)

// subBuckets is how many buckets each power of two has: a quantile is at most 1/128 too high.
const (
	subBits    = 7
	subBuckets = 1 << subBits
)

// Histogram counts durations in buckets that grow with them. Its zero value is empty, and it can be added up and sent as JSON.
type Histogram struct {
	// Buckets are counts; bucketOf says which durations each stands for.
	Buckets []int64 `json:"buckets"`
	// Most is the longest that was seen.
	Most time.Duration `json:"most"`
}

// Add counts d; below zero counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	i := bucketOf(d)
	if i >= len(h.Buckets) {
		h.Buckets = append(h.Buckets, make([]int64, i+1-len(h.Buckets))...)
	}
	h.Buckets[i]++
	h.Most = max(h.Most, d)
}

// Merge counts all that o has counted.
func (h *Histogram) Merge(o Histogram) {
	if n := len(o.Buckets) - len(h.Buckets); n > 0 {
		h.Buckets = append(h.Buckets, make([]int64, n)...)
	}
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Most = max(h.Most, o.Most)
}

// Clone is a copy that shares nothing.
func (h *Histogram) Clone() Histogram { return Histogram{slices.Clone(h.Buckets), h.Most} }

// Count is how many were added.
func (h *Histogram) Count() (n int64) {
	for _, c := range h.Buckets {
		n += c
	}
	return n
}

// Quantile is the duration that a part q (0 to 1) of them do not exceed, at most 1 % too high; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := max(1, int64(float64(total)*q+0.999999)) // the smallest number of them that is at least that part
	for i, c := range h.Buckets {
		if rank -= c; rank <= 0 {
			return min(bucketEnd(i), h.Most)
		}
	}
	return h.Most
}

// bucketOf is the bucket of a duration: one for each nanosecond up to subBuckets, then subBuckets for each power of two.
func bucketOf(d time.Duration) int {
	v := uint64(d) //nolint:gosec // not below zero
	shift := max(0, bits.Len64(v)-subBits-1)
	return shift<<subBits + int(v>>shift) //nolint:gosec // below 2 * subBuckets
}

// bucketEnd is the longest duration of a bucket.
func bucketEnd(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	return time.Duration((i-shift<<subBits+1)<<shift - 1)
}
