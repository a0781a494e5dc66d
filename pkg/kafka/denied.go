package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ErrDenied says that brokers answer and have no ACL that allows what was asked. Waiting helps: somebody may add it.
var ErrDenied = errors.New("the brokers' ACLs do not allow it; 'doorstep topics acls' prints what each service needs")

// Denied adds ErrDenied to what brokers say where no ACL allows it, and leaves other errors as they are.
func Denied(err error) error {
	if err == nil || errors.Is(err, ErrDenied) || !denied(err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrDenied)
}

func denied(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) ||
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}
