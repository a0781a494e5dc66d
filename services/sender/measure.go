package sender

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/replicas"
)

const (
	measureEvery = time.Second
	// lagEvery is how often the brokers are asked for the ends of the lanes, in measures.
	lagEvery = 2
	// starvedFrom is the part of the processors from which on everything may wait for them.
	starvedFrom = 0.85
)

// gauge measures what this sender does, for how many senders are needed.
type gauge struct {
	cpus float64

	at          time.Time
	quick, slow time.Duration // in flight so far
	cpu         time.Duration
}

func newGauge(cpus float64) *gauge {
	if cpus == 0 {
		cpus = math.Min(cgroupCPUs("/sys/fs/cgroup"), float64(runtime.GOMAXPROCS(0)))
	}
	return &gauge{cpus: cpus}
}

// next is how much of the room in flight and of the processors was used since it was called before, each 0 to 1.
func (g *gauge) next(d *dispatcher, now time.Time) (inFlight, cpu float64) {
	quick, slow, room := d.used()
	spent := processTime()
	if took := now.Sub(g.at); !g.at.IsZero() && took > 0 {
		most := max(quick-g.quick, slow-g.slow)
		inFlight = math.Min(1, most.Seconds()/(took.Seconds()*float64(room)))
		cpu = math.Min(1, (spent-g.cpu).Seconds()/(took.Seconds()*g.cpus))
	}
	g.at, g.quick, g.slow, g.cpu = now, quick, slow, spent
	return inFlight, cpu
}

// measure works out every second how many senders its partitions need.
func (s *Service) measure(ctx context.Context) error {
	estimate := replicas.Estimate{Config: replicas.Config{DrainWithin: s.cfg.DrainWithin}}
	g := newGauge(s.cfg.CPUs)
	ticker := time.NewTicker(measureEvery)
	defer ticker.Stop()
	var lag map[*kafka.Part]int64
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if n%lagEvery == 0 {
			lag = s.lag(ctx, lag)
		}
		now := s.now()
		inFlight, cpu := g.next(s.dispatcher, now)
		seats, ok := s.dispatcher.survey(s.lanes.Parts(), lag, cpu >= starvedFrom, now)
		if !ok {
			continue
		}
		need := estimate.Add(replicas.Sample{At: now, Seats: seats, InFlight: inFlight, CPU: cpu})
		s.need.Store(&measured{need, len(seats)})
	}
}

// lag asks the brokers for what has not been read; without an answer it stays as it was.
func (s *Service) lag(ctx context.Context, was map[*kafka.Part]int64) map[*kafka.Part]int64 {
	ctx, cancel := context.WithTimeout(ctx, measureEvery)
	defer cancel()
	lag, err := s.lanes.Lag(ctx)
	if err != nil {
		return was
	}
	return lag
}

// measured is what was last worked out.
type measured struct {
	replicas.Need
	seats int
}
