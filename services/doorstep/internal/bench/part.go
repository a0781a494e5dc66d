package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/embedded"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/obs"
	"github.com/doorstep-dev/doorstep/pkg/process"
)

// Parts are the processes of a bench that are not services of the product. Each answers /readyz and /metrics at admin.

// Stores are the addresses of embedded stores.
type Stores struct {
	Brokers []string `json:"brokers"` // none if the log is not embedded here
	Redis   string   `json:"redis"`   // URL; empty if Redis is not embedded here
}

// logBytes bounds the log of a run; above what a run writes.
const logBytes = 16 << 30

// RunStores hosts an embedded log or Redis or both, until it is stopped.
func RunStores(ctx context.Context, cfg embedded.Config, admin string) error {
	cfg.LogMaxBytes = logBytes
	servers, err := embedded.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return runPart(ctx, admin, map[string]http.HandlerFunc{
		"GET /stores": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(Stores{servers.Brokers(), servers.RedisURL()})
		},
	}, process.Component{Name: "stores", Run: servers.Run})
}

// RunReceiver is the process of a Receiver, until it is stopped.
func RunReceiver(ctx context.Context, addr, admin string) error {
	receive, control := receiverPart()
	server, err := process.NewServer(addr, "http", receive)
	if err != nil {
		return err
	}
	return runPart(ctx, admin, control, process.Component{Name: "receiver", Run: server.Run})
}

// bareIngest is a gRPC service that does nothing but write what it is given.
type bareIngest struct {
	pb.UnimplementedIngestServiceServer
	client *kgo.Client
	topic  string
}

func (s bareIngest) Publish(ctx context.Context, req *pb.PublishRequest) (*pb.PublishResponse, error) {
	e := req.GetEvent()
	r := &kgo.Record{Topic: s.topic, Key: []byte(e.GetTenant() + "/" + e.GetExternalReference()), Value: e.GetData()}
	return &pb.PublishResponse{EventId: e.GetId()}, s.client.ProduceSync(ctx, r).FirstErr()
}

// RunBareIngest serves bareIngest on addr, until it is stopped.
func RunBareIngest(ctx context.Context, cfg kafka.Config, addr, admin string) error {
	topics, err := cfg.Topics()
	if err != nil {
		return err
	}
	client, err := cfg.NewClient("bare-ingest", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("grpc: %w", err)
	}
	server := grpc.NewServer()
	pb.RegisterIngestServiceServer(server, bareIngest{client: client, topic: topics.Events})
	return runPart(ctx, admin, nil, process.Component{Name: "grpc", Run: func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, server.Stop)
		defer stop()
		return server.Serve(listener)
	}})
}

// runPart runs a part with its admin address and what it answers there.
func runPart(ctx context.Context, admin string, control map[string]http.HandlerFunc, part process.Component) error {
	mux := http.NewServeMux()
	mux.Handle("/", process.NewAdmin(obs.Registry()).Handler())
	for pattern, handler := range control {
		mux.HandleFunc(pattern, handler)
	}
	server, err := process.NewServer(admin, "admin", mux)
	if err != nil {
		return err
	}
	part.Stage = 1
	return process.Run(ctx, process.Config{Log: slog.New(slog.DiscardHandler)}, part, process.Component{Name: "admin", Run: server.Run})
}
