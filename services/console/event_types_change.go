package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/doorstep-dev/doorstep/pkg/catalogue"
	"github.com/doorstep-dev/doorstep/pkg/event"
	"github.com/doorstep-dev/doorstep/pkg/invalid"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

type (
	documentInput struct {
		ContentType string `header:"Content-Type"`
		RawBody     []byte `contentType:"application/json"`
	}
	typeRawInput struct {
		Type    string `path:"type" maxLength:"128"`
		RawBody []byte `contentType:"application/json"`
	}
	// putOutput is 201 for what is new, else 200.
	putOutput struct {
		Status int
		ETag   string `header:"ETag"`
		Body   Reply[EventType]
	}
)

// Imported says what importing event types did, by their names.
type Imported struct {
	Added     []string `json:"added"`
	Changed   []string `json:"changed"`
	Unchanged []string `json:"unchanged"`
}

// describedType is the event type that a caller describes as his own, checked. name is that of the path; empty: there is none.
func describedType(of, name string, raw []byte) (tenant.EventType, error) {
	var in catalogue.Entry
	if err := readDocument(mediaJSON, raw, &in); err != nil {
		return tenant.EventType{}, err
	}
	var f invalid.Fields
	if name != "" {
		if in.Type != "" && in.Type != name {
			f.Add("type", "must be that of the path, or be left out")
		}
		in.Type = name
	}
	t := in.EventType(of, "")
	f = append(f, catalogue.Check("", t)...)
	return t, f.Err()
}

func (s *Service) createEventType(ctx context.Context, in *rawInput) (*tagged[EventType], error) {
	t, err := describedType(callerOf(ctx).Tenant, "", in.RawBody)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	made := t
	made.Version, made.CreatedAt, made.UpdatedAt = 1, now, now
	answering(ctx, func() any { return replyTagged(ctx, made.Version, eventTypeView(made)) })
	by := authorOf(ctx)
	by.At = now
	if t, _, err = s.storeEventType(ctx, by, t, true); err != nil {
		return nil, err
	}
	return replyTagged(ctx, t.Version, eventTypeView(t)), nil
}

func (s *Service) putEventType(ctx context.Context, in *typeRawInput) (*putOutput, error) {
	t, err := describedType(callerOf(ctx).Tenant, in.Type, in.RawBody)
	if err != nil {
		return nil, err
	}
	t, added, err := s.storeEventType(ctx, authorOf(ctx), t, false)
	if err != nil {
		return nil, err
	}
	answer := replyTagged(ctx, t.Version, eventTypeView(t))
	out := &putOutput{Status: http.StatusOK, ETag: answer.ETag, Body: answer.Body}
	if added {
		out.Status = http.StatusCreated
	}
	return out, nil
}

// storeEventType makes or replaces an event type and returns it as it stands then, and whether it is new. If it is to be
// new and is not, nothing is changed.
func (s *Service) storeEventType(ctx context.Context, by sqlstore.Author, t tenant.EventType, onlyNew bool) (_ tenant.EventType, added bool, err error) {
	store, err := s.sql()
	if err != nil {
		return t, false, err
	}
	err = store.ChangeCatalogue(ctx, by, t.Tenant, func(of tenant.Tenant, types []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		at, had := slices.BinarySearchFunc(types, t, compareTypes)
		var version uint64 // of what is not there: none
		if had {
			version = types[at].Version
		}
		if err := unmet(ctx, version); err != nil {
			return of, nil, err
		}
		if added = !had; added {
			types = slices.Insert(types, at, t)
			return of, types, tooMany(types)
		}
		if onlyNew {
			return of, nil, newProblem(http.StatusConflict, "there is an event type of that name already; PUT /api/v1/event-types/"+t.Type+" replaces it")
		}
		types[at] = t
		return of, types, nil
	})
	if err != nil {
		return t, false, err
	}
	t, err = store.EventType(ctx, t.Tenant, t.Type)
	return t, added, err
}

func (s *Service) deleteEventType(ctx context.Context, in *typeInput) (*noOutput, error) {
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	of := callerOf(ctx).Tenant
	if !event.ValidType(in.Type) {
		return nil, sqlstore.ErrNotFound
	}
	return nil, store.ChangeCatalogue(ctx, authorOf(ctx), of, func(x tenant.Tenant, types []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		at, had := slices.BinarySearchFunc(types, tenant.EventType{Type: in.Type}, compareTypes)
		if !had {
			return x, nil, sqlstore.ErrNotFound
		}
		if err := unmet(ctx, types[at].Version); err != nil {
			return x, nil, err
		}
		return x, slices.Delete(types, at, at+1), nil
	})
}

func (s *Service) importEventTypes(ctx context.Context, in *documentInput) (*output[Imported], error) {
	var said catalogue.Types
	if err := readDocument(in.ContentType, in.RawBody, &said); err != nil {
		return nil, err
	}
	if said.EventTypes == nil {
		return nil, invalid.Fields{{Name: "event_types", Message: "is required"}}
	}
	if err := said.Check().Err(); err != nil {
		return nil, err
	}
	store, err := s.sql()
	if err != nil {
		return nil, err
	}
	out := Imported{Added: []string{}, Changed: []string{}, Unchanged: []string{}}
	of := callerOf(ctx).Tenant
	err = store.ChangeCatalogue(ctx, authorOf(ctx), of, func(x tenant.Tenant, types []tenant.EventType) (tenant.Tenant, []tenant.EventType, error) {
		out = Imported{Added: []string{}, Changed: []string{}, Unchanged: []string{}} // it may be tried again
		for _, e := range said.EventTypes {
			t := e.EventType(of, "")
			at, had := slices.BinarySearchFunc(types, t, compareTypes)
			switch {
			case !had:
				types = slices.Insert(types, at, t)
				out.Added = append(out.Added, t.Type)
			case catalogue.Same(types[at], t): // also where a profile brought it, which it goes on to do
				out.Unchanged = append(out.Unchanged, t.Type)
			default:
				types[at] = t
				out.Changed = append(out.Changed, t.Type)
			}
		}
		return x, types, tooMany(types)
	})
	if err != nil {
		return nil, err
	}
	return reply(ctx, out), nil
}
