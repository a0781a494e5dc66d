package sender

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupCPUs is how many processors the limit of this process's container allows, infinite without one. Go's own
// GOMAXPROCS rounds a part of a processor up, to two at least.
func cgroupCPUs(dir string) float64 {
	b, err := os.ReadFile(filepath.Join(dir, "cpu.max")) //nolint:gosec // the kernel's
	if err != nil {
		return math.Inf(1)
	}
	fields := strings.Fields(string(b)) // quota and period in microseconds, or "max"
	if len(fields) != 2 {
		return math.Inf(1)
	}
	quota, err1 := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return math.Inf(1)
	}
	return quota / period
}
