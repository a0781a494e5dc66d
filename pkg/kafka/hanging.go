package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// hangingTime bounds EndHanging, and hangingInterval is how often a session looks for what hangs under its own id;
// hangingDenied, where ACLs do not allow that: brokers note each question that they deny.
const (
	hangingTime     = 3 * time.Second
	hangingInterval = 10 * time.Second
	hangingDenied   = 10 * time.Minute
)

// OffsetsTopic is where Kafka keeps the offsets of groups, those of open transactions too.
const OffsetsTopic = "__consumer_offsets"

// ErrHangingDenied says that ACLs do not allow to see or to end transactions that hang. Nothing else depends on it.
var ErrHangingDenied = errors.New("the brokers' ACLs do not allow it, which is a choice: 'doorstep topics acls --hanging' prints what it needs")

// EndHanging ends the transactions of transactional ids that hang: they are open on a partition, and their
// coordinator takes them for ended. Readers of what is committed stand still behind them, and nobody gets the offsets
// that they are about to commit, for ever: no timeout ends them, and a producer only ends what the coordinator knows.
//
// Apache Kafka 4.4 makes such transactions when its only broker is killed while it ends one. The broker comes back,
// is fenced for some seconds since its former session still runs, and notes then that the transaction is
// complete without having written the markers. Where partitions have several replicas the others take over.
//
// topics are those that the ids write to. It returns what it ended, as "commit ID on TOPIC/PARTITION".
func EndHanging(ctx context.Context, client *kgo.Client, ids []string, topics ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, hangingTime)
	defer cancel()
	adm := kadm.NewClient(client)
	// The coordinator first: what was written under an earlier epoch than the one it names now had ended by now.
	described, err := adm.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe transactions: %w", unseen(err))
	}
	if !slices.ContainsFunc(described.Sorted(), ended) {
		return nil, nil
	}
	written := kadm.TopicsSet{}
	for _, topic := range append(topics, OffsetsTopic) {
		written[topic] = map[int32]struct{}{}
	}
	producers, err := adm.DescribeProducers(ctx, written)
	if err != nil {
		return nil, fmt.Errorf("describe producers: %w", unseen(err))
	}
	var open []kadm.DescribedProducer
	producers.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset >= 0 {
			open = append(open, p)
		}
	})
	var done []string
	for _, t := range described.Sorted() {
		for _, m := range hanging(t, open) {
			responses, err := adm.WriteTxnMarkers(ctx, m)
			responses.EachPartition(func(r kadm.TxnMarkersPartitionResponse) { err = errors.Join(err, r.Err) })
			if err != nil {
				return done, fmt.Errorf("%s: %w", words(t.TxnID, m), unseen(err))
			}
			done = append(done, words(t.TxnID, m))
		}
	}
	return done, nil
}

// unseen says which ACLs are missing, which not everybody wants to give.
func unseen(err error) error {
	if denied(err) {
		return fmt.Errorf("%w: %w", ErrHangingDenied, err)
	}
	return err
}

// endHanging is EndHanging, and logs what it did.
func endHanging(ctx context.Context, client *kgo.Client, log *slog.Logger, ids []string, topics ...string) error {
	if len(ids) == 0 {
		return nil
	}
	done, err := EndHanging(ctx, client, ids, topics...)
	if len(done) > 0 {
		log.Warn("transactions hung, which the brokers took for ended; they are ended now", "markers", done)
	}
	return err
}

func words(id string, m kadm.TxnMarkers) string {
	does := "abort"
	if m.Commit {
		does = "commit"
	}
	var on []string
	for _, t := range m.Topics.Sorted() {
		for _, p := range t.Partitions {
			on = append(on, fmt.Sprintf("%s/%d", t.Topic, p))
		}
	}
	return fmt.Sprintf("%s %s on %s", does, id, strings.Join(on, " "))
}

// ended reports whether the coordinator is done with every transaction of an epoch before the one that it names. While
// it prepares to end one it names the next epoch already.
func ended(t kadm.DescribedTransaction) bool {
	switch t.State {
	case "Empty", "Ongoing", "CompleteCommit", "CompleteAbort":
		return t.Err == nil
	}
	return false
}

// hanging are the markers that end what hangs of a transactional id, among what is open on partitions. The
// description of the transaction is older than that of the partitions. Brokers before transactions of version 2, which
// raise the epoch with each transaction, are not looked through: nothing there is of an earlier epoch.
func hanging(t kadm.DescribedTransaction, open []kadm.DescribedProducer) []kadm.TxnMarkers {
	if !ended(t) {
		return nil
	}
	type life struct {
		epoch       int16
		coordinator int32
	}
	var lives []life
	topics, offsetsOpen := map[life]kadm.TopicsSet{}, map[int16]bool{}
	for _, p := range open {
		if p.ProducerID != t.ProducerID || p.ProducerEpoch >= t.ProducerEpoch {
			continue
		}
		l := life{p.ProducerEpoch, max(p.CoordinatorEpoch, 0)}
		of, known := topics[l]
		if !known {
			lives = append(lives, l)
		}
		of.Add(p.Topic, p.Partition)
		topics[l] = of
		if p.Topic == OffsetsTopic {
			offsetsOpen[l.epoch] = true
		}
	}
	var markers []kadm.TxnMarkers
	for _, l := range lives {
		markers = append(markers, kadm.TxnMarkers{
			ProducerID: t.ProducerID, ProducerEpoch: l.epoch, CoordinatorEpoch: l.coordinator,
			Commit: committed(t, l.epoch, offsetsOpen[l.epoch]), Topics: topics[l],
		})
	}
	return markers
}

// committed says how a transaction of an epoch was to end. The coordinator knows it until its next transaction; after
// that the offsets decide: if those hang too, their records are read again, so what was made of them goes; if not,
// it stays, since it may be all that there will ever be of them.
func committed(t kadm.DescribedTransaction, epoch int16, offsetsOpen bool) bool {
	if t.ProducerEpoch == epoch+1 {
		switch t.State {
		case "CompleteCommit":
			return true
		case "CompleteAbort":
			return false
		}
	}
	return !offsetsOpen
}
