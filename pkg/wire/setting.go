package wire

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// TenantKey is the key of a tenant in `settings`, where keys are "kind/id".
func TenantKey(id string) string { return "tenant/" + id }

// APIKeyKey is the key of an API key in `settings`.
func APIKeyKey(id string) string { return "api_key/" + id }

// AdministratorKey is the key of an administrator in `settings`.
func AdministratorKey(id string) string { return "administrator/" + id }

// EventTypeKey is the key of an entry of a tenant's catalogue in `settings`.
func EventTypeKey(tenant, t string) string { return "event_type/" + tenant + "/" + t }

// Tenant is the setting record of a tenant.
func Tenant(topic string, t tenant.Tenant) (*kgo.Record, error) {
	return kindSetting.record(topic, TenantKey(t.ID), &pb.SettingRecord{
		Version: t.Version,
		Setting: &pb.SettingRecord_Tenant{Tenant: &pb.Tenant{
			Id: t.ID, Name: t.Name, Open: t.Open, Payload: payloadToProto(t.Payload), Features: t.Features, Profile: t.Profile,
			Policy: &pb.Policy{
				WarnAfter: optional(t.Policy.WarnAfter), DisableAfter: optional(t.Policy.DisableAfter),
				MaxWebhooksPerEvent: optional(t.Policy.MaxWebhooksPerEvent), RetryCount: optional(t.Policy.RetryCount),
				TimeoutSeconds: seconds(t.Policy.Timeout), Reactivation: t.Policy.Reactivation,
				KeepAnswers: t.Policy.KeepAnswers, Validate: t.Policy.Validate,
			},
			CreatedAt: nanos(t.CreatedAt), UpdatedAt: nanos(t.UpdatedAt),
		}},
	})
}

// APIKey is the setting record of an API key; it holds the key's hash only.
func APIKey(topic string, k tenant.APIKey) (*kgo.Record, error) {
	m := &pb.ApiKey{
		Id: k.ID, Tenant: k.Tenant, Name: k.Name, Prefix: k.Prefix, Hash: k.Hash[:],
		CreatedAt: nanos(k.CreatedAt), ExpiresAt: nanos(k.ExpiresAt), DeveloperClientId: k.DeveloperClientID,
	}
	for _, s := range k.Scopes {
		m.Scopes = append(m.Scopes, string(s))
	}
	return kindSetting.record(topic, APIKeyKey(k.ID), &pb.SettingRecord{
		Version: k.Version, Setting: &pb.SettingRecord_ApiKey{ApiKey: m},
	})
}

// Administrator is the setting record of an administrator.
func Administrator(topic string, a tenant.Administrator) (*kgo.Record, error) {
	return kindSetting.record(topic, AdministratorKey(a.ID), &pb.SettingRecord{
		Version: a.Version,
		Setting: &pb.SettingRecord_Administrator{Administrator: &pb.Administrator{
			Id: a.ID, Tenant: a.Tenant, Email: a.Email, Name: a.Name, Language: a.Language, Notices: a.Notices,
			CreatedAt: nanos(a.CreatedAt), UpdatedAt: nanos(a.UpdatedAt),
		}},
	})
}

// EventType is the setting record of an entry of a tenant's catalogue.
func EventType(topic string, t tenant.EventType) (*kgo.Record, error) {
	return kindSetting.record(topic, EventTypeKey(t.Tenant, t.Type), &pb.SettingRecord{
		Version: t.Version,
		Setting: &pb.SettingRecord_EventType{EventType: &pb.EventType{
			Tenant: t.Tenant, Type: t.Type, Group: t.Group, Description: t.Description, Kind: t.Kind,
			Schema: t.Schema, Example: t.Example, Deprecated: t.Deprecated, Attributes: t.Attributes,
			Profile: t.Profile, CreatedAt: nanos(t.CreatedAt), UpdatedAt: nanos(t.UpdatedAt),
		}},
	})
}

// ErrUnknownSetting says that a newer program wrote a kind of setting that this one does not know: it
// is passed over, not quarantined.
var ErrUnknownSetting = errors.New("setting of a kind that this program does not know")

// ReadSetting decodes a record of `settings` into a tenant.Tenant, APIKey, Administrator or EventType; nil
// says that the record's key is gone. Any other error than ErrUnknownSetting means quarantine.
func ReadSetting(r *kgo.Record) (any, error) {
	if r.Value == nil {
		return nil, nil
	}
	var m pb.SettingRecord
	if err := kindSetting.read(r, &m); err != nil {
		return nil, err
	}
	switch s := m.Setting.(type) {
	case *pb.SettingRecord_Tenant:
		return tenantFromProto(m.Version, s.Tenant), nil
	case *pb.SettingRecord_ApiKey:
		return apiKeyFromProto(m.Version, s.ApiKey)
	case *pb.SettingRecord_Administrator:
		a := s.Administrator
		return tenant.Administrator{
			ID: a.GetId(), Tenant: a.GetTenant(), Email: a.GetEmail(), Name: a.GetName(), Language: a.GetLanguage(),
			Notices: a.GetNotices(), Version: m.Version, CreatedAt: at(a.GetCreatedAt()), UpdatedAt: at(a.GetUpdatedAt()),
		}, nil
	case *pb.SettingRecord_EventType:
		t := s.EventType
		return tenant.EventType{
			Tenant: t.GetTenant(), Type: t.GetType(), Group: t.GetGroup(), Description: t.GetDescription(), Kind: t.GetKind(),
			Schema: t.GetSchema(), Example: t.GetExample(), Deprecated: t.GetDeprecated(), Attributes: t.GetAttributes(),
			Profile: t.GetProfile(), CreatedAt: at(t.GetCreatedAt()), UpdatedAt: at(t.GetUpdatedAt()), Version: m.Version,
		}, nil
	}
	return nil, ErrUnknownSetting
}

func tenantFromProto(version uint64, m *pb.Tenant) tenant.Tenant {
	p := m.GetPolicy()
	if p == nil {
		p = &pb.Policy{}
	}
	return tenant.Tenant{
		ID: m.GetId(), Name: m.GetName(), Open: m.GetOpen(), Payload: payloadFromProto(m.GetPayload()),
		Features: m.GetFeatures(), Profile: m.GetProfile(), Version: version,
		Policy: tenant.Policy{
			WarnAfter: fromOptional(p.WarnAfter), DisableAfter: fromOptional(p.DisableAfter),
			MaxWebhooksPerEvent: fromOptional(p.MaxWebhooksPerEvent), RetryCount: fromOptional(p.RetryCount),
			Timeout: fromSeconds(p.TimeoutSeconds), Reactivation: p.GetReactivation(),
			KeepAnswers: p.KeepAnswers, Validate: p.GetValidate(),
		},
		CreatedAt: at(m.GetCreatedAt()), UpdatedAt: at(m.GetUpdatedAt()),
	}
}

func apiKeyFromProto(version uint64, m *pb.ApiKey) (tenant.APIKey, error) {
	k := tenant.APIKey{
		ID: m.GetId(), Tenant: m.GetTenant(), Name: m.GetName(), Prefix: m.GetPrefix(), Version: version,
		CreatedAt: at(m.GetCreatedAt()), ExpiresAt: at(m.GetExpiresAt()), DeveloperClientID: m.GetDeveloperClientId(),
	}
	if len(m.GetHash()) != len(k.Hash) {
		return tenant.APIKey{}, fmt.Errorf("setting record: API key %s has a hash of %d bytes", k.ID, len(m.GetHash()))
	}
	copy(k.Hash[:], m.GetHash())
	for _, s := range m.GetScopes() {
		k.Scopes = append(k.Scopes, tenant.Scope(s))
	}
	return k, nil
}
