package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/doorstep-dev/doorstep/pkg/kafka"
	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// environment is a struct of settings as variables NAME=value, by the env tags that kong reads them by. Zero values are left out, for
// which the defaults stand.
func environment(settings any) []string {
	v := reflect.ValueOf(settings)
	var env []string
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Tag.Get("env")
		switch {
		case field.Kind() == reflect.Struct:
			env = append(env, environment(field.Interface())...)
		case name == "" || field.IsZero():
		default:
			env = append(env, name+"="+settingText(field))
		}
	}
	return env
}

func settingText(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case []string:
		return strings.Join(value, ",")
	case time.Duration:
		return value.String()
	default:
		return fmt.Sprint(value)
	}
}

// deleteTopics deletes all topics whose names begin with prefix.
func deleteTopics(ctx context.Context, adm *kadm.Client, prefix string) error {
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list the topics of the run: %w", err)
	}
	var ours []string
	for _, name := range topics.Names() {
		if strings.HasPrefix(name, prefix) {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	if _, err := adm.DeleteTopics(ctx, ours...); err != nil {
		return fmt.Errorf("delete the topics of the run: %w", err)
	}
	return nil
}

// deleteGroups deletes all groups whose names begin with prefix. A group can be deleted once its members are gone, which brokers
// find of those that were killed only after their session.
func deleteGroups(ctx context.Context, adm *kadm.Client, prefix string) error {
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list the groups of the bench: %w", err)
	}
	ours := slices.DeleteFunc(groups.Groups(), func(name string) bool { return !strings.HasPrefix(name, prefix) })
	for {
		if len(ours) == 0 {
			return nil
		}
		deleted, err := adm.DeleteGroups(ctx, ours...)
		if err != nil {
			return fmt.Errorf("delete the groups of the bench: %w", err)
		}
		ours = slices.DeleteFunc(ours, func(name string) bool { return !errors.Is(deleted[name].Err, kerr.NonEmptyGroup) })
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("delete the groups of the bench: %w", err)
		}
	}
}

// tidyGroups is deleteGroups after all runs.
func tidyGroups(ctx context.Context, cfg kafka.Config, prefix string) error {
	if len(cfg.Brokers) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	client, err := cfg.NewClient("bench-tidy", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer client.Close()
	return deleteGroups(ctx, kadm.NewClient(client), prefix)
}

// freshSchema makes an empty schema in the given PostgreSQL, and says how to drop it.
func freshSchema(ctx context.Context, cfg sqldb.Config) (sqldb.Config, func(context.Context) error, error) {
	u, err := url.Parse(cfg.PostgresURL)
	if err != nil || u.Scheme == "" {
		return cfg, nil, errors.New("postgres-url: the bench makes a schema of its own and needs a URL for that: postgres://user@host/database")
	}
	db, err := sql.Open("pgx", cfg.PostgresURL)
	if err != nil {
		return cfg, nil, errors.New("postgres-url: cannot be read")
	}
	schema := "doorstep_bench_" + uuid.NewString()[:8]
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA "`+schema+`"`); err != nil {
		return cfg, nil, errors.Join(fmt.Errorf("make a schema in PostgreSQL: %w", err), db.Close())
	}
	q := u.Query()
	q.Set("search_path", `"`+schema+`"`)
	u.RawQuery = q.Encode()
	cfg.PostgresURL = u.String()
	return cfg, func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, `DROP SCHEMA "`+schema+`" CASCADE`)
		return errors.Join(err, db.Close())
	}, nil
}
