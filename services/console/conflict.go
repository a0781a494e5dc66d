package console

import (
	"errors"

	"github.com/doorstep-dev/doorstep/pkg/sqlstore"
)

// changeTries is how often a change is applied to what another request has written meanwhile.
const changeTries = 5

// retried makes a change, which reads, decides and stores, and makes it again on what another request has written
// meanwhile. It errs with sqlstore.ErrConflict once it gives up, and as change does.
func retried[T any](change func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := change()
		if !errors.Is(err, sqlstore.ErrConflict) || try == changeTries {
			return v, err
		}
	}
}
