package publish_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/publish"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// demanding is a tenant with one schema for each of its types but "free".
type demanding struct {
	mu       sync.Mutex
	validate string
	schema   string
}

func (d *demanding) set(validate, schema string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.validate, d.schema = validate, schema
}

func (d *demanding) Tenant(id string) tenant.Tenant {
	d.mu.Lock()
	defer d.mu.Unlock()
	return tenant.Tenant{ID: id, Open: true, Policy: tenant.Policy{Validate: d.validate}}
}

func (d *demanding) EventType(tenantID, name string) (tenant.EventType, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "free" {
		return tenant.EventType{}, false
	}
	return tenant.EventType{Tenant: tenantID, Type: name, Schema: []byte(d.schema)}, true
}

const cardSchema = `{"type":"object","required":["current"],"properties":{"current":{"type":"object","required":["id"],"properties":{"id":{"type":"string","maxLength":5}}}}}`

func demand(t *testing.T, log kafka.Config, d *demanding, reg prometheus.Registerer) *publish.Publisher {
	t.Helper()
	p, err := publish.New(publish.Config{MaxInFlight: 1024, MaxInFlightBytes: 1 << 24, Timeout: 5 * time.Second}, log, "test", d, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestDataIsHeldAgainstItsSchema(t *testing.T) {
	b, reg, d := newBroker(t), prometheus.NewRegistry(), &demanding{}
	p := demand(t, b.cfg, d, reg)
	for name, tt := range map[string]struct {
		validate, eventType, data string
		fields                    string // at fault
		taken                     bool
	}{
		"off, and it does not fit":     {"off", "card.a", `{}`, "", true},
		"nothing said":                 {"", "card.b", `{}`, "", true},
		"reject, and it fits":          {"reject", "card.c", `{"current":{"id":"c-1"}}`, "", true},
		"reject, and it does not":      {"reject", "card.d", `{"current":{"id":"s3cret"}}`, "data.current.id", false},
		"reject, and nothing is there": {"reject", "card.e", ``, "data", false},
		"reject, of no known type":     {"reject", "free", `{}`, "", true},
		"warn, and it fits":            {"warn", "card.f", `{"current":{"id":"c-1"}}`, "", true},
		"warn, and it does not":        {"warn", "card.g", `{"current":{}}`, "data.current.id", true},
	} {
		t.Run(name, func(t *testing.T) {
			d.set(tt.validate, cardSchema)
			r := p.Publish(t.Context(), acme, event.Event{Type: tt.eventType, Data: []byte(tt.data)})[0]
			faults := r.Warnings
			if r.Err != nil && !errors.As(r.Err, &faults) || (r.Err == nil) != tt.taken || r.Err != nil && r.Warnings != nil {
				t.Fatalf("got %+v", r)
			}
			var names []string
			for _, f := range faults {
				names = append(names, f.Name)
				if strings.Contains(f.Message, "s3cret") {
					t.Errorf("it repeats a value: %s", f.Message)
				}
			}
			if got := strings.Join(names, ","); got != tt.fields {
				t.Errorf("fields %s (%v), want %s", got, faults, tt.fields)
			}
			if tt.fields == "data.current.id" && !tt.taken && !strings.Contains(r.Err.Error(), "5") {
				t.Errorf("no limit is named: %v", r.Err)
			}
		})
	}
	if got := misfits(t, reg); fmt.Sprint(got) != "map[card.d/reject:1 card.e/reject:1 card.g/warn:1]" {
		t.Errorf("counted %v", got)
	}
	if o := outcomes(t, reg); o["invalid"] != 2 || o["accepted"] != 6 {
		t.Errorf("counted %v", o)
	}
}

// A schema holds from the moment it is another, also under a version that was there before; one that does not compile refuses nothing.
func TestSchemasChange(t *testing.T) {
	b, d := newBroker(t), &demanding{}
	p := demand(t, b.cfg, d, prometheus.NewRegistry())
	for i, tt := range []struct {
		schema string
		taken  bool
	}{{cardSchema, false}, {`{"type":"array"}`, false}, {`{"type":"object"}`, true}, {cardSchema, false}, {`{"type":`, true}, {``, true}} {
		d.set(tenant.ValidateReject, tt.schema)
		if r := p.Publish(t.Context(), acme, event.Event{Type: "card.updated", Data: []byte(`{}`)})[0]; (r.Err == nil) != tt.taken {
			t.Errorf("schema %d, %s: %v", i, tt.schema, r.Err)
		}
	}
}

func TestManyAreCheckedAtOnce(t *testing.T) {
	b, d := newBroker(t), &demanding{validate: tenant.ValidateReject, schema: cardSchema}
	p := demand(t, b.cfg, d, prometheus.NewRegistry())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 20 {
				bad := n%2 == 1
				data := `{"current":{"id":"c-1"}}`
				if bad {
					data = `{"current":{"id":1}}`
				}
				r := p.Publish(t.Context(), acme, event.Event{Type: fmt.Sprintf("card.n%d", (i+n)%5), Data: []byte(data)})[0]
				if f := (invalid.Fields)(nil); errors.As(r.Err, &f) != bad {
					t.Errorf("%s: %v", data, r.Err)
				}
			}
		})
	}
	all.Wait()
}

// What is counted by type stays bounded, whatever types there are.
func TestMisfitsAreCountedByFewTypes(t *testing.T) {
	b, reg, d := newBroker(t), prometheus.NewRegistry(), &demanding{validate: tenant.ValidateReject, schema: `false`}
	p := demand(t, b.cfg, d, reg)
	for i := range 300 {
		p.Publish(t.Context(), acme, event.Event{Type: fmt.Sprintf("card.n%d", i)})
	}
	got := misfits(t, reg)
	if len(got) != 201 || got["other types/reject"] != 100 {
		t.Errorf("%d series, %v of other types", len(got), got["other types/reject"])
	}
}

// misfits are the counts of misfits by type/validate.
func misfits(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "doorstep_events_misfit_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			got[m.GetLabel()[0].GetValue()+"/"+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return got
}
