package sqlstore

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// CheckSQLite errs in one line if the file at path cannot be used as the tables of this version. Before older
// ones are migrated, a copy is kept beside the file.
func CheckSQLite(ctx context.Context, path string) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return sqldb.CheckSQLite(ctx, path, sqldb.Schema{Versions: "goose_db_version", Files: files}, true)
}
