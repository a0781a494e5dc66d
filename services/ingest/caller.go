package ingest

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/trace"
)

var errNotReady = status.Error(codes.Unavailable, "the API keys have not been read yet; try again")

// callerKey holds a call's publish.Caller in its context: gRPC has no other way from the start of a
// call to its handler.
type callerKey struct{}

func callerOf(ctx context.Context) publish.Caller {
	c, _ := ctx.Value(callerKey{}).(publish.Caller)
	return c
}

var ourMethods = "/" + pb.IngestService_ServiceDesc.ServiceName + "/"

// admit decides about a call from its headers, before any of its message is read, so that a caller
// without a key cannot make us hold 8 MiB. Health and reflection are open to all. It runs on the
// connection's goroutine and must not wait.
func (s *Service) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !strings.HasPrefix(info.FullMethodName, ourMethods) {
		return ctx, nil
	}
	select {
	case <-s.settings.Ready():
	default:
		return nil, errNotReady
	}
	c, err := callerFrom(info.Header, s.settings.Key, time.Now())
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// callerFrom reads the caller from a call's headers; its errors are statuses.
func callerFrom(md metadata.MD, find func([32]byte) (tenant.APIKey, bool), now time.Time) (publish.Caller, error) {
	p, err := auth.Authenticate(find, first(md, "authorization"), now)
	if err != nil {
		return publish.Caller{}, statusOf(err, "")
	}
	if !p.Allows(tenant.ScopeEvents) {
		return publish.Caller{}, statusOf(errScope, "")
	}
	id, err := p.Tenant(first(md, strings.ToLower(auth.TenantHeader)))
	if err != nil {
		return publish.Caller{}, statusOf(err, "")
	}
	return publish.Caller{Principal: p, Tenant: id, TraceContext: trace.Parent(first(md, "traceparent"))}, nil
}

var errScope = errors.New("the API key lacks the scope " + string(tenant.ScopeEvents))

func first(md metadata.MD, name string) string {
	if v := md[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
