package sqlstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/doorstep-dev/doorstep/pkg/lists"
)

// Statements are what is run often or over many rows, with values that few rows have.
func Statements() map[string]string {
	return map[string]string{
		"an e-mail address":       fill(emailQuery, "'t-7'", "'a@example.com'", "'x'"),
		"a session":               fill(sessionQuery, "'\\x07'", "5"),
		"sessions of a key":       fill(deleteSessionsOfKey, "'t-7'", "'x'"),
		"expired sessions":        fill(deleteExpiredSessions, "5"),
		"sessions of a tenant":    fill(deleteOfTenant("sessions"), "'t-7'"),
		"open jobs":               fill(openJobsQuery, "50"),
		"finished jobs":           fill(deleteFinishedJobs, "5"),
		"jobs of a tenant":        fill(deleteOfTenant("jobs"), "'t-7'"),
		"one job":                 fill(selectJobs+" WHERE tenant = $1 AND id = $2", "'t-7'", "'x'"),
		"one administrator":       fill(selectAdministrators+" WHERE tenant = $1 AND id = $2", "'t-7'", "'x'"),
		"audit log of a tenant":   fill(bequeathAudit, "'t-7'"),
		"old audit entries":       fill(trimAudit, "5", "1000"),
		"administrators that go":  fill(announceAdministrators, "'t-7'"),
		"event types":             fill(outlineQuery, "'t-7'"),
		"a catalogue":             fill(catalogueQuery, "'t-7'"),
		"event types that go":     fill(announceEventTypes, "'t-7'"),
		"event types of a tenant": fill(deleteOfTenant("event_types"), "'t-7'"),
		"expired requests":        fill(deleteExpiredOnce, "5"),
		"a request":               fill("SELECT answer FROM idempotency_keys"+ofOnce, "'t-7'", "'k'", "'r'", "'i-7'"),
		"requests of a tenant":    fill(deleteOfTenant("idempotency_keys"), "'t-7'"),
	}
}

// fill puts values where the placeholders are.
func fill(statement string, values ...string) string {
	for i, v := range slices.Backward(values) { // $10 before $1
		statement = strings.ReplaceAll(statement, "$"+strconv.Itoa(i+1), v)
	}
	return statement
}

// ListStatement is how a page of a tenant's rows is read, and how they are counted, with their values.
func (s *Store) ListStatement(table, tenant string, q lists.Query) (page, total string) {
	of := scope{tenant: tenant, everyone: table == "tenants"}
	if table == "audit_log" {
		of.column = "log"
	}
	columns := map[string][]string{
		"webhooks": webhookColumns, "api_keys": keyColumns, "administrators": administratorColumns, "tenants": tenantColumns, "jobs": jobColumns, "audit_log": auditColumns,
	}[table]
	literal := func(statement string, args []any) string {
		values := make([]string, len(args))
		for i, v := range args {
			if values[i] = fmt.Sprint(v); values[i] == v {
				values[i] = "'" + strings.ReplaceAll(values[i], "'", "''") + "'"
			}
		}
		return fill(statement, values...)
	}
	return literal(pageStatement(table, columns, of, q, s.Postgres())), literal(totalStatement(table, of, q, s.Postgres()))
}

// Untold are columns of which it is not said how they appear in the audit log: they are masked.
func Untold() (out []string) {
	for kind, columns := range map[Kind][]string{
		KindWebhook: webhookColumns, KindTenant: tenantColumns, KindAPIKey: keyColumns, KindAdministrator: administratorColumns, KindJob: jobColumns,
	} {
		for _, name := range columns {
			if _, known := tellings[kind][name]; !known {
				out = append(out, string(kind)+" "+name)
			}
		}
	}
	return out
}
