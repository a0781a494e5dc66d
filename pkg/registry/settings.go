package registry

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/wire"
)

// Settings are the tenants, API keys, administrators and event types.
type Settings struct {
	reader  *reader
	options options

	mu      sync.RWMutex
	byKey   map[string]any // what each key of the topic holds, to undo it
	tenants map[string]tenant.Tenant
	keys    map[[32]byte]tenant.APIKey
	types   map[string]map[string]tenant.EventType     // tenant, name
	admins  map[string]map[string]tenant.Administrator // tenant, id
	texts   texts                                      // schemas and examples of types
}

// NewSettings prepares to follow `settings`; Run does it. id names the Kafka client.
func NewSettings(cfg kafka.Config, id string, log *slog.Logger, opts ...Option) (*Settings, error) {
	topics, err := names(cfg)
	if err != nil {
		return nil, err
	}
	s := &Settings{
		options: newOptions(log, opts),
		byKey:   map[string]any{}, tenants: map[string]tenant.Tenant{}, keys: map[[32]byte]tenant.APIKey{},
		types: map[string]map[string]tenant.EventType{}, admins: map[string]map[string]tenant.Administrator{}, texts: texts{},
	}
	if s.reader, err = newReader(cfg, id, log, topics.Settings, s.apply); err != nil {
		return nil, err
	}
	return s, nil
}

// Run follows the topic until ctx ends, then returns nil. It must be called once: it owns the client.
func (s *Settings) Run(ctx context.Context) error { return s.reader.Run(ctx) }

// Ready is closed once everything is applied that was in the topic when Run began.
func (s *Settings) Ready() <-chan struct{} { return s.reader.Ready() }

// Key finds an API key by its hash, expired ones too.
func (s *Settings) Key(hash [32]byte) (tenant.APIKey, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.keys[hash]
	return k, ok
}

// Tenant returns a tenant; one that is not known is open, with the installation's defaults.
func (s *Settings) Tenant(id string) tenant.Tenant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t, ok := s.tenants[id]; ok {
		return t
	}
	return tenant.Tenant{ID: id, Open: true}
}

// EventType finds an entry of a tenant's catalogue.
func (s *Settings) EventType(tenantID, name string) (tenant.EventType, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.types[tenantID][name]
	return t, ok
}

// EventTypes are a tenant's catalogue, by their names.
func (s *Settings) EventTypes(tenantID string) []tenant.EventType {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.types[tenantID]), func(a, b tenant.EventType) int {
		return strings.Compare(a.Type, b.Type)
	})
}

// Administrators are a tenant's, by their ids.
func (s *Settings) Administrators(tenantID string) []tenant.Administrator {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.admins[tenantID]), func(a, b tenant.Administrator) int {
		return strings.Compare(a.ID, b.ID)
	})
}

func (s *Settings) apply(r *kgo.Record) {
	setting, err := wire.ReadSetting(r)
	if errors.Is(err, wire.ErrUnknownSetting) {
		return
	}
	if err != nil {
		s.options.quarantine(r, err)
		return
	}
	key := string(r.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	// What the key held goes first: an API key may have another hash now, an administrator another tenant.
	if old, ok := s.byKey[key]; ok {
		s.remove(old)
		delete(s.byKey, key)
	}
	if t, ok := setting.(tenant.EventType); ok {
		t.Schema, t.Example = s.texts.take(t.Schema), s.texts.take(t.Example)
		setting = t
	}
	if setting != nil {
		s.put(setting)
		s.byKey[key] = setting
	}
}

func (s *Settings) put(setting any) {
	switch v := setting.(type) {
	case tenant.Tenant:
		s.tenants[v.ID] = v
	case tenant.APIKey:
		s.keys[v.Hash] = v
	case tenant.EventType:
		if s.types[v.Tenant] == nil {
			s.types[v.Tenant] = map[string]tenant.EventType{}
		}
		s.types[v.Tenant][v.Type] = v
	case tenant.Administrator:
		if s.admins[v.Tenant] == nil {
			s.admins[v.Tenant] = map[string]tenant.Administrator{}
		}
		s.admins[v.Tenant][v.ID] = v
	}
}

func (s *Settings) remove(setting any) {
	switch v := setting.(type) {
	case tenant.Tenant:
		delete(s.tenants, v.ID)
	case tenant.APIKey:
		// The same key may meanwhile stand under another id.
		if s.keys[v.Hash].ID == v.ID {
			delete(s.keys, v.Hash)
		}
	case tenant.EventType:
		if delete(s.types[v.Tenant], v.Type); len(s.types[v.Tenant]) == 0 {
			delete(s.types, v.Tenant)
		}
		s.texts.give(v.Schema)
		s.texts.give(v.Example)
	case tenant.Administrator:
		delete(s.admins[v.Tenant], v.ID)
		if len(s.admins[v.Tenant]) == 0 {
			delete(s.admins, v.Tenant)
		}
	}
}
