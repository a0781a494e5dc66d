package publish

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/auth"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// benchSettings are of a tenant with one type.
type benchSettings struct {
	validate string
	schema   []byte
}

func (s benchSettings) Tenant(id string) tenant.Tenant {
	return tenant.Tenant{ID: id, Open: true, Policy: tenant.Policy{Validate: s.validate}}
}

func (s benchSettings) EventType(tenantID, name string) (tenant.EventType, bool) {
	return tenant.EventType{Tenant: tenantID, Type: name, Schema: s.schema}, true
}

// BenchmarkValidate tells what holding a card of 1 KiB against its schema costs: the time to take it in and encode it, as a ratio to
// doing so for a tenant that is not known to have a policy.
func BenchmarkValidate(b *testing.B) {
	data := benchData(b)
	schema := []byte(`{"type":"object","required":["id","name","custom"],"properties":{"id":{"type":"string","format":"uuid"},"name":{"type":"string","maxLength":500},
		"order":{"type":"integer"},"archived":{"type":"boolean"},"due_date":{"type":"string","format":"date-time"},"quantity":{"type":"number","minimum":0},
		"labels":{"type":"array","items":{"type":"string"}},"checklist":{"type":"array","items":{"type":"object","required":["id","done"],"properties":{"done":{"type":"boolean"}}}},
		"custom":{"type":"object","additionalProperties":{"type":["number","string"]}}}}`)
	without := time.Duration(0)
	for _, bench := range []struct {
		name string
		settings
	}{
		{"nothing said", benchSettings{}}, {"off", benchSettings{tenant.ValidateOff, schema}},
		{"warn", benchSettings{tenant.ValidateWarn, schema}}, {"reject", benchSettings{tenant.ValidateReject, schema}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := &Publisher{settings: bench.settings, schemas: newSchemas()}
			c := Caller{Principal: auth.Principal{Key: tenant.APIKey{ID: "k", Tenant: "acme"}}, Tenant: "acme"}
			for b.Loop() {
				rec, warnings, err := p.accept(c, event.Event{Type: "card.updated", Data: data})
				if err != nil || len(warnings) > 0 {
					b.Fatal(err, warnings)
				}
				if _, err := wire.Event("t.events", rec); err != nil {
					b.Fatal(err)
				}
			}
			each := b.Elapsed() / time.Duration(b.N)
			if without == 0 {
				without = each
			}
			b.ReportMetric(float64(each)/float64(without), "ratio")
		})
	}
}

// benchData is the data of an event of benchRecords.
func benchData(b *testing.B) []byte {
	e, err := wire.ReadEvent(benchRecords(b, 1)[0])
	if err != nil || !json.Valid(e.Data) {
		b.Fatal(err)
	}
	return e.Data
}
