package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/doorstep-dev/doorstep/pkg/signature"
)

// barePost is what a plain net/http loop gets out of this machine with the same bytes and the same receiver: the ceiling of all
// that POSTs.
func barePost() Case {
	return Case{
		Name: "bare-post", Unit: "POSTs",
		Title: "a net/http loop signs and POSTs the same bytes to the same receiver, nothing else",
		Run:   runBarePost,
	}
}

// postTimeout is the time of one attempt, as a webhook's by default.
const postTimeout = 10 * time.Second

func runBarePost(ctx context.Context, bed *Bed) (Sample, error) {
	receiver, err := bed.Receiver(ctx)
	if err != nil {
		return Sample{}, err
	}
	poster, err := newPoster(receiver.URL()+"/bare", bed.InFlight)
	if err != nil {
		return Sample{}, err
	}
	defer poster.close()
	var posted atomic.Int64
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	loops, loop := errgroup.WithContext(ctx)
	for range bed.InFlight {
		loops.Go(func() error {
			for ctx.Err() == nil {
				if err := poster.post(loop, uuid.NewString(), body(time.Now(), bed.BodyBytes)); err != nil && ctx.Err() == nil {
					return err
				}
				posted.Add(1)
			}
			return nil
		})
	}
	m, err := measure(loop, bed.Time, posted.Load, receiver.Process)
	stop()
	if failed := loops.Wait(); failed != nil {
		return Sample{}, failed
	}
	return m, err
}

// poster signs and POSTs. It has the limits of the product that cost nothing to have.
type poster struct {
	url       string
	signer    *signature.Signer
	transport *http.Transport
}

func newPoster(url string, inFlight int) (*poster, error) {
	signer, err := signature.NewSigner(signature.Key{Secret: signature.NewSecret([32]byte{1})})
	if err != nil {
		return nil, err
	}
	return &poster{url, signer, &http.Transport{MaxIdleConns: inFlight, MaxIdleConnsPerHost: inFlight, DisableCompression: true}}, nil
}

func (p *poster) close() { p.transport.CloseIdleConnections() }

func (p *poster) post(ctx context.Context, id string, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(signature.HeaderID, id)
	req.Header.Set(signature.HeaderTimestamp, signature.Timestamp(now))
	req.Header.Set(signature.HeaderSignature, p.signer.Sign(id, now, payload))
	resp, err := p.transport.RoundTrip(req)
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
