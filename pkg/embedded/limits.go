package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// limits are the reasons to take nothing in; nil where there is room.
type limits struct{ disk, log error }

func diskLimit(dir string, free int64) error {
	if free >= MinFreeDisk {
		return nil
	}
	return fmt.Errorf("disk of %s has %s free, %s are needed", dir, mib(free), mib(MinFreeDisk))
}

func logLimit(size, bound int64) error {
	if size < bound {
		return nil
	}
	return fmt.Errorf("embedded log holds %s of undelivered records, its bound is %s (DOORSTEP_LOG_MAX_BYTES)", mib(size), mib(bound))
}

// freeDisk is what an unprivileged process may still write on the disk of dir, in bytes.
func freeDisk(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free disk of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:gosec,unconvert // no disk has 2^63 bytes; the types differ by system
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

type metrics struct {
	size, free prometheus.Gauge
	trimmed    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		size: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "doorstep_embedded_log_bytes", Help: "Size of the embedded log's files."}),
		free: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "doorstep_embedded_disk_free_bytes", Help: "Free disk where the data directory lies."}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "doorstep_embedded_log_trimmed_bytes_total", Help: "Bytes of the embedded log that were trimmed to keep its bound."}),
	}
	reg.MustRegister(m.size, m.free, m.trimmed)
	return m
}

// spareSize is the disk that is held so that a full one can be trimmed: before records go, it is noted where
// their partitions end.
const spareSize = 1 << 20

func spareFile(dir string) string { return filepath.Join(dir, "spare") }

// keepSpare makes the spare file where it is not there.
func keepSpare(dir string) error {
	if _, err := os.Stat(spareFile(dir)); err == nil {
		return nil
	}
	return writeFile(spareFile(dir), make([]byte, spareSize))
}

// withSpare writes, and gives the spare file away where the disk is too full for it.
func withSpare(dir string, write func() error) error {
	err := write()
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	if err := os.Remove(spareFile(dir)); err != nil {
		return err
	}
	return write()
}
