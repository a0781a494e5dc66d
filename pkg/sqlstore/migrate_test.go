package sqlstore_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
	"github.com/doorstep-dev/doorstep/pkg/sqldb/sqldbtest"
	"github.com/doorstep-dev/doorstep/pkg/sqlstore/sqlstoretest"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
	"github.com/doorstep-dev/doorstep/pkg/webhook"
)

// asWritten00001 are rows as the version with 00001 alone writes them.
var asWritten00001 = []string{
	`INSERT INTO tenants (id, name, open, policy, payload, features, profile, version, created_at, updated_at)
		VALUES ('acme', 'Acme', TRUE, '{"warn_after":3}', '{}', '{}', '', 1, 5, 5)`,
	`INSERT INTO webhooks (id, tenant, created_at, api_key_id, name, description, url, active, paused, event_types, filters, condition,
		headers, payload, retry_count, timeout_seconds, rate_limit, max_in_flight, external_reference, metadata, signing_keys,
		developer_client_id, third_party, generation, version, updated_at)
		VALUES ('w', 'acme', 6, 'k', 'n', 'd', 'https://example.com', TRUE, FALSE, '["*"]', '{}', '', '[]', '{}', NULL, 30, 0, 0, '',
		'{}', '[]', '', FALSE, 2, 4, 7)`,
	`INSERT INTO outbox (kind, key, bulk) VALUES ('webhook', 'w', FALSE)`,
}

// TestMigrates opens a database of the last version, and goes on with it.
func TestMigrates(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, cfg sqldb.Config) {
		ctx := t.Context()
		old := sqldbtest.OpenAt(t, cfg, sqldb.Schema{Versions: "goose_db_version", Files: os.DirFS("migrations")}, "00001")
		for _, row := range asWritten00001 {
			if _, err := old.Write.ExecContext(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		s := sqlstoretest.Open(t, cfg)
		want := webhook.Webhook{
			ID: "w", Tenant: "acme", APIKeyID: "k", Name: "n", Description: "d", URL: "https://example.com", Active: true,
			EventTypes: []string{"*"}, Timeout: new(30 * time.Second), Generation: 2, Version: 4, CreatedAt: time.Unix(0, 6).UTC(), UpdatedAt: time.Unix(0, 7).UTC(),
		}
		if got, err := s.Webhook(ctx, "acme", "w"); err != nil || !cmp.Equal(want, got) {
			t.Errorf("the webhook: %v (-want +got):\n%s", err, cmp.Diff(want, got))
		}
		wantTenant := tenant.Tenant{
			ID: "acme", Name: "Acme", Open: true, Policy: tenant.Policy{WarnAfter: new(3)}, Version: 1,
			CreatedAt: time.Unix(0, 5).UTC(), UpdatedAt: time.Unix(0, 5).UTC(),
		}
		if got, err := s.Tenant(ctx, "acme"); err != nil || !cmp.Equal(wantTenant, got) {
			t.Errorf("the tenant: %v (-want +got):\n%s", err, cmp.Diff(wantTenant, got))
		}
		if rows, err := s.Changes(ctx, 9); err != nil || len(rows) != 1 {
			t.Errorf("the outbox: %v, %v", rows, err)
		}
		if _, err := s.CreateAdministrator(ctx, sqlstoretest.By(), sqlstoretest.Administrator("acme", "admin@example.com")); err != nil {
			t.Error(err)
		}
		if _, err := s.CreateJob(ctx, sqlstoretest.By(), sqlstoretest.NewJob("acme")); err != nil {
			t.Error(err)
		}
		if err := s.CreateSession(ctx, sqlstoretest.NewSession("acme", 1)); err != nil {
			t.Error(err)
		}
		if version, err := s.SchemaVersion(ctx); err != nil || version < 2 {
			t.Errorf("schema version %d, %v", version, err)
		}
		if open, err := s.OpenJobs(ctx, 9); err != nil || len(open) != 1 {
			t.Errorf("%d open jobs, %v, want 1", len(open), err)
		}
	})
}
