package sqlstore

import (
	"github.com/doorstep-dev/doorstep/pkg/lists"
	"github.com/doorstep-dev/doorstep/pkg/tenant"
)

// What lists can be asked. Whatever sorts has an index (migration 00005; see indexed), and a text that sorts has the
// collation "C" in PostgreSQL.

var (
	idField   = lists.Field{Name: "id", Kind: lists.ID}
	createdAt = lists.Field{Name: "created_at", Kind: lists.Time, Sorts: true}
	updatedAt = lists.Field{Name: "updated_at", Kind: lists.Time, Sorts: true}
)

// exactly are the operators of a text that nobody knows a part of.
func exactly() []lists.Op { return []lists.Op{lists.Eq, lists.Ne, lists.In} }

// WebhookList is what a list of webhooks can be asked.
func WebhookList() lists.List {
	return lists.List{
		Name: "webhooks", Sort: "created_at",
		Fields: []lists.Field{
			idField,
			{Name: "name", Kind: lists.Text, Sorts: true},
			{Name: "description", Kind: lists.Text},
			{Name: "url", Kind: lists.Text, Sorts: true},
			{Name: "active", Kind: lists.Bool, Sorts: true},
			{Name: "paused", Kind: lists.Bool},
			{Name: "event_types", Kind: lists.Members, Doc: "As they are registered: card.* is found by card.*, not by card.updated."},
			{Name: "condition", Kind: lists.Text},
			{Name: "rate_limit", Kind: lists.Number},
			{Name: "max_in_flight", Kind: lists.Number},
			{Name: "external_reference", Kind: lists.Text, Sorts: true},
			{Name: "api_key_id", Kind: lists.Text, Ops: exactly()},
			{Name: "developer_client_id", Kind: lists.Text, Ops: exactly()},
			{Name: "third_party", Kind: lists.Bool},
			createdAt, updatedAt,
		},
	}
}

// APIKeyList is what a list of API keys can be asked.
func APIKeyList() lists.List {
	var scopes []string
	for _, s := range tenant.Scopes() {
		scopes = append(scopes, string(s))
	}
	return lists.List{
		Name: "api-keys", Sort: "created_at",
		Fields: []lists.Field{
			idField,
			{Name: "name", Kind: lists.Text, Sorts: true},
			{Name: "prefix", Kind: lists.Text, Ops: exactly()},
			{Name: "scopes", Kind: lists.Members, Values: scopes},
			{Name: "developer_client_id", Kind: lists.Text, Ops: exactly()},
			createdAt,
			{Name: "updated_at", Kind: lists.Time, Null: true},
			{Name: "expires_at", Kind: lists.Time, Sorts: true, Null: true},
			{Name: "last_used_at", Kind: lists.Time, Null: true},
		},
	}
}

// AuditList is what a list of the audit log can be asked.
func AuditList() lists.List {
	return lists.List{
		Name: "audit-log", Sort: "-created_at",
		Fields: []lists.Field{
			idField, createdAt,
			{Name: "author", Kind: lists.Enum, Values: []string{string(ByAPIKey), string(BySession), string(BySystem)}},
			{Name: "key_id", Kind: lists.ID},
			{Name: "platform", Kind: lists.Bool},
			{Name: "action", Kind: lists.Text, Ops: exactly()},
			{Name: "kind", Kind: lists.Text, Ops: exactly()},
			{Name: "subject_id", Kind: lists.Text, Ops: exactly()},
			{Name: "result", Kind: lists.Enum, Values: []string{string(AuditDone), string(AuditBegun), string(AuditFailed)}},
			{Name: "request_id", Kind: lists.Text, Ops: exactly()},
		},
	}
}

// AdministratorList is what a list of administrators can be asked; notices are the kinds that there are.
func AdministratorList(notices []string) lists.List {
	return lists.List{
		Name: "administrators", Sort: "created_at",
		Fields: []lists.Field{
			idField,
			{Name: "email", Kind: lists.Text, Sorts: true},
			{Name: "name", Kind: lists.Text, Sorts: true},
			{Name: "language", Kind: lists.Text, Ops: exactly()},
			{Name: "notices", Kind: lists.Members, Values: notices, Doc: "Who chose none is told of everything, and found by none."},
			createdAt, updatedAt,
		},
	}
}

// TenantList is what a list of tenants can be asked.
func TenantList() lists.List {
	return lists.List{
		Name: "tenants", Sort: "created_at",
		Fields: []lists.Field{
			{Name: "id", Kind: lists.Text, Sorts: true},
			{Name: "name", Kind: lists.Text, Sorts: true},
			{Name: "open", Kind: lists.Bool},
			{Name: "profile", Kind: lists.Text, Ops: exactly()},
			createdAt, updatedAt,
		},
	}
}

// JobList is what a list of jobs can be asked.
func JobList() lists.List {
	return lists.List{
		Name: "jobs", Sort: "created_at",
		Fields: []lists.Field{
			idField,
			{Name: "kind", Kind: lists.Enum, Values: []string{string(JobRelease), string(JobDiscard), string(JobRecover)}},
			{Name: "webhook_id", Kind: lists.ID, Sorts: true},
			{Name: "status", Kind: lists.Enum, Sorts: true, Values: []string{
				string(JobWaiting), string(JobRunning), string(JobPaused), string(JobDone), string(JobFailed), string(JobCancelled),
			}},
			{Name: "changed", Kind: lists.Number},
			createdAt, updatedAt,
			{Name: "finished_at", Kind: lists.Time, Sorts: true, Null: true},
		},
	}
}

// EventTypeList is what a list of event types can be asked. A catalogue is small: it is sorted without an index.
func EventTypeList(kinds []string) lists.List {
	return lists.List{
		Name: "event-types", Key: "type", Sort: "type",
		Fields: []lists.Field{
			{Name: "type", Kind: lists.Text, Sorts: true},
			{Name: "group", Kind: lists.Text, Sorts: true},
			{Name: "kind", Kind: lists.Enum, Values: kinds},
			{Name: "description", Kind: lists.Text},
			{Name: "deprecated", Kind: lists.Bool, Sorts: true},
			{Name: "attributes", Kind: lists.Members},
			{Name: "profile", Kind: lists.Text, Ops: exactly()},
			createdAt, updatedAt,
		},
	}
}
