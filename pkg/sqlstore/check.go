package sqlstore

import (
	"context"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// CheckSQLite errs in one line if the file at path cannot be used as the tables of this version. Before older
// ones are migrated, a copy is kept beside the file.
func CheckSQLite(ctx context.Context, path string) error {
	tables, err := schema()
	if err != nil {
		return err
	}
	return sqldb.CheckSQLite(ctx, path, tables, true)
}
