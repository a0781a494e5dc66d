package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fenceTime bounds fenceGone; who is not fenced then is left to the broker.
const fenceTime = 3 * time.Second

// fenceGone aborts the transactions that members left open when they died: those under a transactional id
// of idPrefix and the instance of nobody who is in the group. Readers of what is committed stand still
// behind an open transaction, and so does who takes over its partitions. A broker aborts it only after
// the transaction's timeout, and looks for such every 10 s; the group knows of the death earlier.
//
// It returns the ids of all who are gone, and of those that it aborted. A member that only seemed dead finds its
// producer fenced and begins anew.
func fenceGone(ctx context.Context, client *kgo.Client, group, idPrefix string) (gone, fenced []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	adm := kadm.NewClient(client)
	// The transactions first: whoever has one open now was a member before, and if alive still is below.
	listed, err := adm.ListTransactions(ctx, nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("list transactions: %w", err)
	}
	members, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = members.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	alive := map[string]bool{}
	for _, m := range members[group].Members {
		if m.InstanceID != nil {
			alive[*m.InstanceID] = true
		}
	}
	for _, t := range listed.Sorted() {
		instance, ours := strings.CutPrefix(t.TxnID, idPrefix)
		if !ours || alive[instance] {
			continue
		}
		gone = append(gone, t.TxnID)
		if t.State != "Ongoing" {
			continue
		}
		if fault := fence(ctx, client, t.TxnID); fault != nil {
			err = errors.Join(err, fmt.Errorf("fence %s: %w", t.TxnID, fault))
			continue
		}
		fenced = append(fenced, t.TxnID)
	}
	return gone, fenced, err
}

// fence takes a transactional id from whoever has it, which aborts its transaction, and returns once it is
// aborted.
func fence(ctx context.Context, client *kgo.Client, id string) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &id
	req.TransactionTimeoutMillis = int32(SessionTimeout.Milliseconds()) //nolint:gosec // seconds
	for {
		resp, err := req.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) || !wait(ctx, concurrentBackoff) {
			return err
		}
	}
}
