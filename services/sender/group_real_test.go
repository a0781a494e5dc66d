package sender_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/services/sender"
)

// TestSecondOfAnInstanceEndsTheFirst starts two senders with one instance: the older one ends and says why.
func TestSecondOfAnInstanceEndsTheFirst(t *testing.T) {
	r := newRig(t, "1m")
	rec := newReceiver(t, func(string, int) int { return 204 })
	w := r.webhook(rec.URL, nil)
	cfg := r.cfg
	cfg.Instance = "sender-0"
	older, err := sender.New(cfg, r.log(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- older.Run(context.Background()) }()
	r.deliver(w, 1)
	rec.wait(t, "/", 1)

	began := time.Now()
	r.start("sender-0")
	select {
	case err := <-ended:
		t.Logf("after %s: %v", time.Since(began).Round(10*time.Millisecond), err)
		if !errors.Is(err, kafka.ErrFenced) || !strings.Contains(err.Error(), "DOORSTEP_INSTANCE") {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the older one goes on")
	}
	for n := range 20 {
		r.deliver(w, 2+n)
	}
	rec.wait(t, "/", 21)
}

// TestBrokersGoneAndBack takes all brokers away under a sender, for less and for more than its session
// timeout; it goes on by itself.
func TestBrokersGoneAndBack(t *testing.T) {
	for _, away := range []time.Duration{2 * time.Second, kafka.SessionTimeout + 2*time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cluster.Close() })
			addr := cluster.ListenAddrs()[0]
			r := newRigAt(t, "1m", []string{addr})
			rec := newReceiver(t, func(string, int) int { return 204 })
			w := r.webhook(rec.URL, nil)
			r.start("sender-0")
			for n := range 20 {
				r.deliver(w, n)
			}
			rec.wait(t, "/", 20)
			eventually(t, func() error { return r.committed(20) })
			cluster.Close()
			<-time.After(away)
			_, p, _ := net.SplitHostPort(addr)
			port, _ := strconv.Atoi(p)
			if cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir), kfake.Ports(port)); err != nil {
				t.Fatal(err)
			}
			back := time.Now()
			seen := map[string]bool{}
			for n := range 20 {
				r.deliver(w, 20+n)
			}
			eventually(t, func() error {
				for _, p := range rec.posts("/") {
					seen[p.header.Get("webhook-id")] = true
				}
				if len(seen) < 40 {
					return fmt.Errorf("%d deliveries of 40", len(seen))
				}
				return nil
			})
			t.Logf("gone for %s: all delivered %s after they were back", away, time.Since(back).Round(10*time.Millisecond))
			if posts := len(rec.posts("/")); posts != 40 {
				t.Errorf("%d posts of 40 deliveries", posts)
			}
		})
	}
}

// committed errs unless the senders have committed n immediate deliveries.
func (r *rig) committed(n int64) error {
	offsets, err := kadm.NewClient(r.client).FetchOffsets(r.t.Context(), r.cfg.Kafka.TopicPrefix+"sender")
	if err != nil {
		return err
	}
	sum := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == r.topics.Deliveries {
			sum += o.At
		}
	})
	if sum != n {
		return fmt.Errorf("%d deliveries of %d committed", sum, n)
	}
	return nil
}
