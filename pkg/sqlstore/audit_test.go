package sqlstore_test

import (
	"testing"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// TestEveryColumnIsToldOrNot: whoever adds a column says in tellings how it appears in the audit log.
func TestEveryColumnIsToldOrNot(t *testing.T) {
	if untold := sqlstore.Untold(); len(untold) > 0 {
		t.Errorf("audit_fields.go does not say how the audit log tells of %v", untold)
	}
}
