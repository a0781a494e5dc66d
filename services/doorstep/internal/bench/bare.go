package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// body is JSON of n bytes.
func body(n int) []byte {
	const head, tail = `{"text":"`, `"}`
	return []byte(head + strings.Repeat("x", max(0, n-len(head)-len(tail))) + tail)
}

// bareLoop signs and POSTs the same bytes as the sender does, with nothing around it: the ceiling.
func bareLoop(ctx context.Context, cfg Config, t *target) (Measure, error) {
	signer, err := signature.NewSigner(signature.Key{Secret: signature.NewSecret([32]byte{1})})
	if err != nil {
		return Measure{}, err
	}
	transport := &http.Transport{MaxIdleConns: cfg.InFlight, MaxIdleConnsPerHost: cfg.InFlight, DisableCompression: true}
	defer transport.CloseIdleConnections()
	payload := body(cfg.BodyBytes)
	var (
		left    atomic.Int64
		workers sync.WaitGroup
		failure atomic.Pointer[error]
	)
	left.Store(int64(cfg.Deliveries))
	watch := start()
	for range cfg.InFlight {
		workers.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				if err := bareAttempt(ctx, transport, t.url+"/bare", payload, signer); err != nil {
					failure.Store(&err)
					return
				}
			}
		})
	}
	workers.Wait()
	if err := failure.Load(); err != nil {
		return Measure{}, *err
	}
	return watch.stop(cfg.Deliveries), ctx.Err()
}

func bareAttempt(ctx context.Context, transport *http.Transport, url string, payload []byte, signer *signature.Signer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	id, now := uuid.NewString(), time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(signature.HeaderID, id)
	req.Header.Set(signature.HeaderTimestamp, signature.Timestamp(now))
	req.Header.Set(signature.HeaderSignature, signer.Sign(id, now, payload))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the receiver answered %d", resp.StatusCode)
	}
	return nil
}
