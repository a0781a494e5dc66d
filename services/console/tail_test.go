package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/delivery"
	"github.com/doorstep-dev/doorstep/pkg/testkit"
	"github.com/doorstep-dev/doorstep/pkg/wire"
	"github.com/doorstep-dev/doorstep/services/console"
)

const (
	hookA = "0198c9e0-0000-7000-8000-00000000000a"
	hookB = "0198c9e0-0000-7000-8000-00000000000b"
)

// tailing is a stream of attempts that was asked for.
type tailing struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
	end   context.CancelFunc
}

// tail asks for a stream and, if it begins, waits for its first line, which is blank.
func (r *rig) tail(key, query string, header ...string) *tailing {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	r.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.svc.Addr()+"/api/v1/attempts/tail"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.running.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	l := &tailing{r.t, resp, bufio.NewScanner(resp.Body), cancel}
	l.lines.Buffer(nil, 1<<20)
	if resp.StatusCode == http.StatusOK && (!l.lines.Scan() || l.lines.Text() != "") {
		r.t.Fatalf("the first line is %q, %v", l.lines.Text(), l.lines.Err())
	}
	return l
}

// next is the next attempt, the zero one if the stream ends.
func (l *tailing) next() (a console.TailedAttempt) {
	l.t.Helper()
	for l.lines.Scan() {
		if l.lines.Text() == "" {
			continue
		}
		if err := json.Unmarshal(l.lines.Bytes(), &a); err != nil {
			l.t.Fatalf("%v in %s", err, l.lines.Text())
		}
		return a
	}
	return a
}

// TestTail makes attempts of two webhooks and two tenants and sees who is told of which.
func TestTail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	of := func(event, webhook, tenant, eventType string, o delivery.Outcome, status delivery.Status) delivery.Attempt {
		e := published(event, t0)
		e.Tenant, e.Type = tenant, eventType
		return post(matched(e, webhook), delivery.Position{Topic: r.topics.Deliveries}, t0, o, status)
	}
	ok := delivery.Outcome{StatusCode: 204, ResponseBody: []byte("fine")}
	failed := delivery.Outcome{StatusCode: 500, ErrorCode: "status", Error: "answered 500"}
	all := []delivery.Attempt{
		of("e1", hookA, "default", "card.updated", ok, delivery.Delivered),
		of("e2", hookA, "default", "card.closed", failed, delivery.Retrying),
		of("e3", hookB, "default", "card.updated", failed, delivery.Exhausted),
		of("e4", hookA, "acme", "card.updated", failed, delivery.Retrying),
		{
			Kind: delivery.KindDecision, DeliveryID: "d5", Tenant: "default", WebhookID: hookA, EventID: "e5", EventType: "card.updated",
			ReceivedAt: t0, StartedAt: t0, FinishedAt: t0, Status: delivery.Cancelled,
		},
		of("last", hookA, "default", "card.updated", failed, delivery.Retrying),
		of("last", hookB, "default", "card.updated", failed, delivery.Exhausted),
		of("last", hookA, "acme", "card.updated", failed, delivery.Retrying),
	}
	reader := r.key(`{"name":"reader","scopes":["deliveries:read"]}`).Key
	acme := r.key(`{"name":"acme","scopes":["deliveries"]}`, "Doorstep-Tenant", "acme").Key
	tests := map[string]struct {
		tail *tailing
		want []string // until the first that is "last"
	}{
		"everything":         {r.tail(reader, ""), []string{"e1", "e2", "e3", "e5"}},
		"a platform key":     {r.tail(bootKey, ""), []string{"e1", "e2", "e3", "e5"}},
		"named":              {r.tail(bootKey, "", "Doorstep-Tenant", "acme"), []string{"e4"}},
		"another's key":      {r.tail(acme, ""), []string{"e4"}},
		"webhook":            {r.tail(reader, "?filter[webhook_id]="+hookB), []string{"e3"}},
		"type":               {r.tail(reader, "?filter[event_type]=card.updated"), []string{"e1", "e3", "e5"}},
		"status":             {r.tail(reader, "?filter[status]=exhausted,cancelled"), []string{"e3", "e5"}},
		"failed":             {r.tail(reader, "?filter[failed]=true"), []string{"e2", "e3"}},
		"failed, of webhook": {r.tail(reader, "?filter[failed]=true&filter[webhook_id]="+hookA), []string{"e2"}},
	}
	for _, a := range all {
		r.write(wire.Attempt(r.topics.Attempts, a))
	}
	for name, tt := range tests {
		if got := tt.tail.resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("%s: %s", name, got)
		}
		got := map[string]bool{}
		for a := tt.tail.next(); a.EventID != "last"; a = tt.tail.next() {
			if a.EventID == "" {
				t.Fatalf("%s: the stream ended: %v", name, tt.tail.lines.Err())
			}
			got[a.EventID] = true
			if a.EventID == "e1" && (a.DeliveryID != delivery.ID("e1", hookA) || a.Lane != "immediate" || a.StatusCode != 204 || a.ResponseBody != "fine") {
				t.Errorf("%+v", a)
			}
		}
		want := map[string]bool{}
		for _, id := range tt.want {
			want[id] = true
		}
		// Webhooks are in different partitions, so the last of one may come before another's first.
		for id := range got {
			if !want[id] {
				t.Errorf("%s: is told of %s", name, id)
			}
		}
		for a := tt.tail; len(got) < len(want); {
			next := a.next()
			if next.EventID == "" {
				t.Fatalf("%s: the stream ended at %v, want %v", name, got, want)
			}
			if next.EventID != "last" {
				got[next.EventID] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(name, diff)
		}
	}
}

func TestTailFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for query, want := range map[string]int{
		"?filter[webhook_id]=abc":    422,
		"?filter[status]=gone":       422,
		"?filter[event_type]=card.*": 422,
		"?filter[failed]=maybe":      422,
		"?colour=red":                422,
	} {
		if got := r.tail(bootKey, query).resp.StatusCode; got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	if got := r.tail(r.key(`{"name":"w","scopes":["webhooks"]}`).Key, "").resp.StatusCode; got != 403 {
		t.Errorf("a key without the scope: %d", got)
	}
	var open []*tailing
	for range 16 {
		open = append(open, r.tail(bootKey, ""))
	}
	if l := r.tail(bootKey, ""); l.resp.StatusCode != 429 || l.resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", l.resp.StatusCode)
	}
	open[0].end()
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := r.tail(bootKey, "").resp.StatusCode; got != 200 {
			return fmt.Errorf("after one has gone: %d", got)
		}
		return nil
	})
}

// TestTailEndsWithTheConsole: streams do not hold up a stop, and end in good order.
func TestTailEndsWithTheConsole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.tail(bootKey, "")
	start := time.Now()
	r.stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the console took %s to stop", took)
	}
	if rest, err := io.ReadAll(l.resp.Body); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("%q, %v", rest, err)
	}
}
