package sqlhistory

import (
	"context"

	"github.com/doorstep-dev/doorstep/pkg/sqldb"
)

// CheckSQLite errs in one line if the file at path cannot be used as the history of this version.
func CheckSQLite(ctx context.Context, path string) error {
	tables, err := schema()
	if err != nil {
		return err
	}
	return sqldb.CheckSQLite(ctx, path, tables, false)
}
