package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/quarantine"
	"github.com/doorstep-dev/doorstep/pkg/registry"
)

// Limits of the server.
const (
	// maxMessageBytes lets a batch that is a little too large reach the check that names its limit.
	maxMessageBytes = MaxBatchBytes + 1<<20
	maxCallsPerConn = 1000
	streamWorkers   = 128

	keepaliveTime    = time.Minute      // a silent connection is asked whether it lives
	keepaliveTimeout = 20 * time.Second // and closed if it does not answer
	keepaliveMinimum = 10 * time.Second // a client may ask as often as this
)

// How often Kafka is asked whether it answers: seldom while all is well, often while it is not.
const (
	checkEvery    = 2 * time.Second
	recheckEvery  = 250 * time.Millisecond
	checkDeadline = 2 * time.Second
)

// Service is the ingest service.
type Service struct {
	pb.UnimplementedIngestServiceServer

	cfg       Config
	log       *slog.Logger
	listener  net.Listener
	settings  *registry.Settings
	publisher *publish.Publisher
	server    *grpc.Server
	health    *health.Server
	stopping  chan struct{} // closed when no more is taken
	readers   sync.WaitGroup
	seldom    obs.Seldom
	unready   atomic.Pointer[error] // why it is not ready; nil inside: it is
}

// New listens, so that an address in use is known at once; Run serves.
func New(cfg Config, log *slog.Logger, metrics prometheus.Registerer) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	failures, err := obs.StoreFailures(metrics)
	if err != nil {
		return nil, err
	}
	cfg.Kafka.Failed = failures("kafka")
	s := &Service{cfg: cfg, log: log, stopping: make(chan struct{}), health: health.NewServer()}
	s.setReady(errors.New("not started"))
	secure, err := transport(cfg, log)
	if err != nil {
		return nil, err
	}
	if s.listener, err = process.Listen(cfg.Addr, "grpc"); err != nil {
		return nil, err
	}
	if err := s.open(metrics); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	s.server = grpc.NewServer(
		grpc.Creds(secure),
		grpc.InTapHandle(s.admit),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxConcurrentStreams(maxCallsPerConn),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMinimum, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		// Calls run on goroutines that stay: a fresh one for each call grows its stack anew, 6 % of a unary call's CPU
		// with 64 callers. Where all are busy, with streams too, a call gets a fresh one as it would without.
		grpc.NumStreamWorkers(streamWorkers),
	)
	pb.RegisterIngestServiceServer(s.server, s)
	grpc_health_v1.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
	return s, nil
}

// open makes what talks to Kafka.
func (s *Service) open(metrics prometheus.Registerer) error {
	topics, err := s.cfg.Kafka.Topics()
	if err != nil {
		return err
	}
	keep, err := quarantine.New(topics.Quarantine, "ingest", s.log, metrics, time.Now)
	if err != nil {
		return err
	}
	// Records come only once Run follows the settings; the publisher is there by then.
	unreadable := registry.Quarantine(func(r *kgo.Record, reason error) { keep.Write(s.publisher.Writer(), r, reason) })
	if s.settings, err = registry.NewSettings(s.cfg.Kafka, "ingest-settings", s.log, unreadable); err != nil {
		return err
	}
	limits := s.cfg.Publish
	limits.Room = s.cfg.Room
	s.publisher, err = publish.New(limits, s.cfg.Kafka, "ingest", s.settings, s.log, metrics)
	return err
}

// Addr is the host:port that the service listens on.
func (s *Service) Addr() string { return s.listener.Addr().String() }

// Ready is nil if events are taken: the settings have been read and Kafka answers.
func (s *Service) Ready() error { return *s.unready.Load() }

// Run serves until ctx ends, then takes no more, waits for the calls under way and returns nil.
func (s *Service) Run(ctx context.Context) error {
	defer s.publisher.Close()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return s.settings.Run(running) })
	group.Go(func() error {
		s.log.Info("listening", "grpc", s.Addr())
		if err := s.server.Serve(s.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve grpc on %s: %w", s.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		s.watch(running)
		s.drain()
		return nil
	})
	err := group.Wait()
	s.readers.Wait()
	return err
}

// drain lets the calls under way end, for DrainTimeout at most.
func (s *Service) drain() {
	s.setReady(errors.New("stopping"))
	s.health.Shutdown()
	close(s.stopping)
	late := time.AfterFunc(s.cfg.DrainTimeout, func() {
		s.log.Warn("calls were cut", "drain_seconds", s.cfg.DrainTimeout.Seconds())
		s.server.Stop()
	})
	defer late.Stop()
	s.server.GracefulStop()
}

// watch keeps Ready and the health service up to date until ctx ends.
func (s *Service) watch(ctx context.Context) {
	for read := s.settings.Ready(); ctx.Err() == nil; {
		err := s.check(ctx)
		if ctx.Err() != nil {
			return
		}
		s.setReady(err)
		if errors.Is(err, kafka.ErrDenied) {
			s.seldom.Warn(ctx, s.log, "events cannot be taken", "error", err)
		}
		every := checkEvery
		if err != nil {
			every = recheckEvery
		}
		select {
		case <-time.After(every):
		case <-read:
			read = nil // it stays closed
		case <-ctx.Done():
		}
	}
}

// check says why events cannot be taken.
func (s *Service) check(ctx context.Context) error {
	select {
	case <-s.settings.Ready():
	default:
		return errors.New("the settings have not been read to their end")
	}
	ctx, cancel := context.WithTimeout(ctx, checkDeadline)
	defer cancel()
	return s.publisher.Ping(ctx)
}

func (s *Service) setReady(err error) {
	s.unready.Store(&err)
	serving := grpc_health_v1.HealthCheckResponse_SERVING
	if err != nil {
		serving = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	for _, name := range []string{"", pb.IngestService_ServiceDesc.ServiceName} {
		s.health.SetServingStatus(name, serving)
	}
}
