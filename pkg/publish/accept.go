package publish

import (
	"cmp"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// accept decides about an event and makes its record: its tenant, id, time and data are filled in
// where the producer left them out. validate says what is to become of it if it does not fit its type's schema. It errs with
// auth.ErrOtherTenant or an invalid.Fields.
func accept(cat settings, c Caller, e event.Event, now time.Time, newID func() string) (r event.Record, validate string, err error) {
	faults := e.Check("", now)
	if e.Tenant == "" {
		e.Tenant = c.Tenant
	} else if event.ValidTenant(e.Tenant) {
		if _, err := c.Principal.Tenant(e.Tenant); err != nil {
			return event.Record{}, "", err
		}
	}
	t := cat.Tenant(e.Tenant)
	if event.ValidType(e.Type) && !t.Open {
		checkCatalogue(cat, e, &faults)
	}
	if err := faults.Err(); err != nil {
		return event.Record{}, "", err
	}
	r = event.Record{Event: e, ReceivedAt: now, APIKeyID: c.Principal.Key.ID, TraceContext: c.TraceContext}
	if r.ID == "" {
		r.ID, r.IDAssigned = newID(), true
	}
	if r.OccurredAt.IsZero() {
		r.OccurredAt = now
	}
	if len(r.Data) == 0 {
		r.Data = []byte("null")
	}
	return r, cmp.Or(t.Policy.Validate, tenant.ValidateOff), nil
}

// checkCatalogue refuses a type that a closed tenant does not have.
func checkCatalogue(cat settings, e event.Event, faults *invalid.Fields) {
	if _, known := cat.EventType(e.Tenant, e.Type); !known {
		faults.Add("type", "%s is not in the catalogue of tenant %s, which takes no others", e.Type, e.Tenant)
	}
}
