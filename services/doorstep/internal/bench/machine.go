package bench

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Machine is what was measured on. It names neither hosts nor paths: reports are passed on.
type Machine struct {
	Cores    int    `json:"cores"`
	System   string `json:"system"` // kernel and processor family
	Go       string `json:"go"`
	Log      string `json:"log"`   // "embedded", or what Kafka says of its version
	State    string `json:"state"` // "embedded" or "Redis"
	Database string `json:"sql"`   // "embedded", or PostgreSQL and its version
}

// String is one line.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores, %s, %s; log: %s, state: %s, SQL: %s", m.Cores, m.System, m.Go, m.Log, m.State, m.Database)
}

// versionWithin bounds asking a server for its version.
const versionWithin = 5 * time.Second

func describe(ctx context.Context, s Servers) Machine {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	m := Machine{
		Cores: runtime.NumCPU(), System: kernel() + " " + runtime.GOARCH, Go: runtime.Version(),
		Log: "embedded", State: "embedded", Database: "embedded",
	}
	if len(s.Kafka.Brokers) > 0 {
		m.Log = "Kafka " + kafkaVersion(ctx, s)
	}
	if s.Redis.URL != "" {
		m.State = "Redis"
	}
	if s.SQL.PostgresURL != "" {
		m.Database = "PostgreSQL " + postgresVersion(ctx, s.SQL.PostgresURL)
	}
	return m
}

// unknownVersion stands for a version that a server does not tell; what is wrong with it, the cases will say.
const unknownVersion = "of unknown version"

func kafkaVersion(ctx context.Context, s Servers) string {
	client, err := s.Kafka.NewClient("bench-version", slog.New(slog.DiscardHandler))
	if err != nil {
		return unknownVersion
	}
	defer client.Close()
	versions, err := kadm.NewClient(client).ApiVersions(ctx)
	if err != nil {
		return unknownVersion
	}
	for _, v := range versions.Sorted() {
		if v.Err == nil {
			return v.VersionGuess()
		}
	}
	return unknownVersion
}

func postgresVersion(ctx context.Context, url string) string {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return unknownVersion
	}
	defer db.Close()
	var version string
	if err := db.QueryRowContext(ctx, "SHOW server_version").Scan(&version); err != nil {
		return unknownVersion
	}
	return version
}
