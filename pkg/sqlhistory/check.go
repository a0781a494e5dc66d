package sqlhistory

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// CheckSQLite errs in one line if the file at path cannot be used as the history of this version.
func CheckSQLite(ctx context.Context, path string) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return sqldb.CheckSQLite(ctx, path, sqldb.Schema{Versions: "goose_history_version", Files: files}, false)
}
