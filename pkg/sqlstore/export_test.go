package sqlstore

import (
	"strconv"
	"strings"
)

// Statements are what is run often or over many rows, with values that few rows have.
func Statements() map[string]string {
	return map[string]string{
		"administrators":         fill(administratorsQuery, "'t-7'", "0", "'x'", "50"),
		"an e-mail address":      fill(emailQuery, "'t-7'", "'a@example.com'", "'x'"),
		"a session":              fill(sessionQuery, "'\\x07'", "5"),
		"sessions of a key":      fill(deleteSessionsOfKey, "'t-7'", "'x'"),
		"expired sessions":       fill(deleteExpiredSessions, "5"),
		"sessions of a tenant":   fill(deleteOfTenant("sessions"), "'t-7'"),
		"jobs":                   fill(jobsQuery, "'t-7'", "0", "'x'", "50"),
		"open jobs":              fill(openJobsQuery, "50"),
		"finished jobs":          fill(deleteFinishedJobs, "5"),
		"jobs of a tenant":       fill(deleteOfTenant("jobs"), "'t-7'"),
		"one job":                fill(selectJobs+" WHERE tenant = $1 AND id = $2", "'t-7'", "'x'"),
		"one administrator":      fill(selectAdministrators+" WHERE tenant = $1 AND id = $2", "'t-7'", "'x'"),
		"administrators that go": fill(announceAdministrators, "'t-7'"),
	}
}

// fill puts values where the placeholders are.
func fill(statement string, values ...string) string {
	for i, v := range values {
		statement = strings.ReplaceAll(statement, "$"+strconv.Itoa(i+1), v)
	}
	return statement
}
