package sqldb_test

import (
	"strings"
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// A URL that cannot be meant is refused at once, in words that hold nothing of it.
func TestURLsThatCannotBeMeant(t *testing.T) {
	for _, url := range []string{
		"postgres://u:hidden@127.0.0.1:port/d", "postgres://u:hid/den@127.0.0.1/d", "postgres://u:hid?den@127.0.0.1/d",
		"postgres://u:hid#den@127.0.0.1/d", "postgres://u:hid@den@127.0.0.1/d", "postgres://u:hid%zz@127.0.0.1/d",
		"mysql://u:hidden@127.0.0.1/d", "postgres://127.0.0.1/d?password=hid@den",
		"Host=127.0.0.1;Username=u;Password=hidden", "host=127.0.0.1,password=hidden",
	} {
		err := sqldb.Config{PostgresURL: url}.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), "postgres-url: ") {
			t.Errorf("%s: %v", url, err)
		} else if strings.Contains(err.Error(), "hid") || strings.Contains(err.Error(), "den@") {
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
	for _, url := range []string{
		"postgres://u:p%40%2F@h:5432/d?sslmode=verify-full", "postgresql://h/d", "postgres:///d?host=/var/run/postgresql&user=u",
		"host=h user=u password='a@b/c'", "host=h1,h2 port=5432,5433 user=u", "postgres://h1,h2:5433/d",
	} {
		if err := (sqldb.Config{PostgresURL: url}).Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
